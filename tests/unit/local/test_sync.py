"""What control planes say of proxies, put beside the processes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.local import probes, sync
from mesh.local.layout import Layout
from mesh.local.probes import Answer
from mesh.local.spec import ControlProbe
from mesh.local.sync import Sync


def proxy(name: str, locality: str, kind: str = "sidecar", **more: object) -> dict[str, Any]:
    """As a control plane writes it (`mesh.control.status`)."""
    stream: dict[str, Any] = {
        "since": more.pop("since", 100.0),
        "rejections": more.pop("rejections", []),
        "waiting": more.pop("waiting", {}),
    }
    return {
        "name": name,
        "namespace": "causeway",
        "kind": kind,
        "locality": locality,
        "connected": True,
        "state": "synced",
        "problem": "",
        "streams": [] if more.get("state") == "absent" else [stream],
        **more,
    }


def tell(
    layout: Layout,
    region: str,
    *proxies: dict[str, Any],
    age: float = 0.0,
    certificates: list[dict[str, str]] | None = None,
    **manifests: object,
) -> None:
    path = layout.control_status(region)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "region": region,
        "updated": time.time() - age,
        "problems": certificates or [],
        "manifests": {"version": "abc", "problems": [], "last_good": False, **manifests},
        "proxies": list(proxies),
    }
    path.write_text(json.dumps(document))


def test_each_proxy_is_found_at_the_control_plane_it_went_to(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    west, east = "us-west-2/us-west-2a", "us-east-1/us-east-1a"
    tell(
        layout,
        "us-west-2",
        proxy("gateway-us-west-2", west),
        proxy("ingress-us-west-2", west, "router"),
        proxy("front", "", "router"),
        proxy("session-us-east-1", east, connected=False, state="absent"),
    )
    tell(layout, "us-east-1", proxy("session-us-east-1", east))
    assert sync.read(layout, ["us-west-2", "us-east-1"]).proxies == {
        "envoy-gateway@us-west-2": Sync("synced", "us-west-2"),
        "ingress@us-west-2": Sync("synced", "us-west-2"),
        "front": Sync("synced", "us-west-2"),
        "envoy-session@us-east-1": Sync("synced", "us-east-1"),
    }


def test_a_proxy_that_is_connected_nowhere_is_listed_with_what_is_known_of_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    west = "us-west-2/us-west-2a"
    never = proxy("policy-us-west-2", west, connected=False, state="absent")
    gone = proxy("session-us-west-2", west, connected=False, state="stale")
    tell(layout, "us-west-2", never, gone)
    tell(layout, "us-east-1", never, {**gone, "state": "absent", "streams": []})
    found = sync.read(layout, ["us-west-2", "us-east-1"])
    assert found.proxies == {
        "envoy-policy@us-west-2": Sync("absent", "", "connected to no control plane"),
        "envoy-session@us-west-2": Sync(
            "stale", "", "connected to no control plane; it was to that of us-west-2"
        ),
    }
    assert not found.synced


def test_the_word_of_the_control_plane_that_a_proxy_went_to_last_counts(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    before = proxy("gateway-a", "a/aa", since=1.0)
    tell(layout, "a", proxy("gateway-a", "a/aa", since=2.0))
    tell(layout, "b", before)
    assert sync.read(layout, ["a", "b"]).proxies["envoy-gateway@a"].control_plane == "a"
    tell(layout, "a", proxy("gateway-a", "a/aa", since=2.0, connected=False, state="stale"))
    assert sync.read(layout, ["a", "b"]).proxies["envoy-gateway@a"].control_plane == "b"


def test_what_should_run_and_no_control_plane_knows_is_absent_and_what_should_not_is_left_out(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path)
    away = {"connected": False, "state": "absent"}
    tell(
        layout,
        "a",
        proxy("gateway-a", "a/aa"),
        proxy("session-a", "a/aa", **away),
        proxy("session-b", "b/bb"),
        proxy("policy-b", "b/bb", **away),
    )
    wanted = {"envoy-gateway@a", "envoy-session@a", "envoy-indexer@a", "ingress@a", "front", "gateway@a"}
    found = sync.read(layout, ["a"], wanted).proxies
    assert {name: item.state for name, item in found.items()} == {
        "envoy-gateway@a": "synced",
        "envoy-session@a": "absent",
        "envoy-indexer@a": "absent",
        "ingress@a": "absent",
        "front": "absent",
        "envoy-session@b": "synced",
    }


def test_a_client_that_is_its_own_proxy_is_listed_by_its_service(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    tell(layout, "a", proxy("gateway-a", "a/aa", "grpc", state="stale", waiting={"CDS": 2.0, "LDS": 1.0}))
    assert sync.read(layout, ["a"]).proxies == {
        "gateway@a": Sync("stale", "a", "has not answered to CDS, LDS")
    }


def test_a_proxy_whose_configuration_cannot_be_made_is_not_synced(tmp_path: Path) -> None:
    """It has accepted all that it was sent, and is not sent what the manifests say."""
    layout = Layout(tmp_path)
    tell(layout, "a", proxy("gateway-a", "a/aa", problem="ValueError: no"))
    found = sync.read(layout, ["a"])
    assert found.proxies["envoy-gateway@a"] == Sync("stale", "a", "ValueError: no")
    assert not found.synced


def test_a_certificate_that_cannot_be_renewed_is_told(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    tell(
        layout,
        "a",
        proxy("gateway-a", "a/aa"),
        certificates=[{"what": "gateway credential api", "reason": "api.pem does not exist"}],
    )
    found = sync.read(layout, ["a"])
    assert found.certificates == ("a: gateway credential api: api.pem does not exist",)
    assert not found.synced


def test_a_control_plane_that_says_nothing_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    tell(layout, "a", proxy("gateway-a", "a/aa"), proxy("gateway-b", "b/bb"))
    assert sync.read(layout, ["a"]).synced
    tell(layout, "b", age=60.0)
    found = sync.read(layout, ["a", "b", "c"])
    assert found.silent == ("b", "c")
    assert {item.state for item in found.proxies.values()} == {"synced"}
    assert not found.synced


def test_what_a_proxy_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    refused = {"type": "CDS", "resource": "outbound|8080||x", "reason": "no such thing"}
    tell(layout, "a", proxy("gateway-a", "a/aa", state="nacked", rejections=[refused]))
    assert sync.read(layout, ["a"]).proxies["envoy-gateway@a"].reason == "CDS outbound|8080||x: no such thing"


def test_a_bad_manifest_is_told_once_with_its_place(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    problem = {"file": "istio/a.yaml", "line": 7, "path": "spec.x", "message": "unknown field"}
    for region in ("a", "b"):
        tell(layout, region, problems=[problem], last_good=True)
    assert sync.read(layout, ["a", "b"]).problems == (
        "istio/a.yaml:7: unknown field (the last good configuration is in use)",
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"updated": "x"}', '{"updated": 1}'])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    layout.control_status("a").parent.mkdir(parents=True)
    layout.control_status("a").write_text(text)
    nothing = sync.MeshSync({}, (), silent=("a", "never-started"))
    assert sync.read(layout, ["a", "never-started"], {"envoy-gateway@a"}) == nothing


@pytest.mark.parametrize(
    "version, age, answer, detail",
    [
        ("abc", 0.0, Answer.READY, ""),
        ("abc", 60.0, Answer.SILENT, "has said nothing for 60 s"),
        ("", 0.0, Answer.NOT_READY, "no usable manifests: a.yaml:3: broken"),
    ],
)
async def test_a_control_plane_is_ready_while_its_word_is_fresh_and_it_has_something_to_give(
    tmp_path: Path, unused_tcp_port: int, version: str, age: float, answer: Answer, detail: str
) -> None:
    import asyncio

    layout = Layout(tmp_path)
    problems = [] if version else [{"file": "a.yaml", "line": 3, "message": "broken"}]
    tell(layout, "a", age=age, version=version, problems=problems)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", unused_tcp_port)
    async with server:
        outcome = await probes.check(ControlProbe("127.0.0.1", unused_tcp_port, layout.control_status("a")))
    assert (outcome.answer, outcome.detail) == (answer, detail)

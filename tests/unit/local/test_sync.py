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
    stream: dict[str, Any] = {"rejections": more.pop("rejections", [])}
    return {
        "name": name,
        "namespace": "causeway",
        "kind": kind,
        "locality": locality,
        "connected": True,
        "state": "synced",
        "problem": "",
        "streams": [stream],
        **more,
    }


def tell(
    layout: Layout, region: str, *proxies: dict[str, Any], age: float = 0.0, **manifests: object
) -> None:
    path = layout.control_status(region)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "updated": time.time() - age,
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
    assert sync.read(layout, ["a", "never-started"]) == sync.MeshSync({}, ())


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

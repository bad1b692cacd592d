"""`causeway mesh explain` and `causeway mesh graph`, over the manifests in istio/."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.two_regions import ISTIO, topology

from cli import exits
from cli.main import main
from mesh.local import state
from mesh.local.layout import Layout
from mesh.local.state import RegionStatus

LIST_MESSAGES = "/causeway.session.v1.MessageService/ListMessages"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Manifests of a whole mesh."""
    folder = tmp_path_factory.mktemp("topology")
    for item in topology():
        (folder / item.name).write_text(str(item.content), "utf-8")
    here = [ISTIO / "mesh.yaml", ISTIO / "base", ISTIO / "overlays" / "us-west-2" / "gateway.yaml", folder]
    return [str(path) for path in here]


def explain(paths: list[str], *options: str) -> int:
    """The exit code for a call from the western gateway to session."""
    ways = ["--from", "gateway", "--to", "session", "--region", "us-west-2", "--method", LIST_MESSAGES]
    return main(["mesh", "explain", *ways, *options, *paths])


def test_a_call_that_gets_through_is_explained_with_the_lines_that_decide(
    paths: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(paths) == exits.OK
    said = capsys.readouterr().out
    assert "istio/base/traffic/session.yaml:" in said
    assert "mutual TLS: the client proves to be spiffe://cluster.local/ns/causeway/sa/gateway" in said
    assert "● reached" in said


def test_a_call_that_is_lost_says_so_by_its_exit_code(
    paths: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(paths, "--down", "*/session", "--json") == exits.FAILURE
    document = json.loads(capsys.readouterr().out)
    assert document["ending"]["grpc_status"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    "options, message",
    [
        (("--region", "eu-west-1"), "there is no proxy of gateway in eu-west-1"),
        (("--to", "postgres"), "knows no service postgres"),
    ],
)
def test_wrong_names_are_wrong_usage(
    paths: list[str], capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert explain(paths, *options) == exits.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--header", "novalue"), ("--random", "1"), ("--token", "https://")])
def test_malformed_options_are_wrong_usage(
    paths: list[str], capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        explain(paths, *option)
    assert caught.value.code == exits.USAGE
    assert option[0] in capsys.readouterr().err


def test_bad_manifests_are_told_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {no: 1}\n")
    assert explain([str(bad)]) == exits.FAILURE
    assert f"{bad}:4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value, line, message",
    [
        ("{name: extra, nmae: x}", 12, "spec.configPatches[0].patch.value.nmae"),
        (
            "{name: outbound|8080||session.causeway.svc.cluster.local}",
            7,
            "there is a CLUSTER outbound|8080||session",
        ),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["explain", "--from", "gateway", "--to", "session", "--region", "us-west-2"],
        ["graph"],
        ["config", "gateway", "--region", "us-west-2", "--manifests"],
        ["lint"],
    ],
)
def test_a_patch_that_cannot_be_applied_is_told_with_file_and_line(
    paths: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    value: str,
    line: int,
    message: str,
) -> None:
    """Whether reading shows it or only some proxy's configuration."""
    bad = tmp_path / "filter.yaml"
    bad.write_text(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\n"
        "metadata: {name: extra, namespace: causeway}\nspec:\n"
        "  workloadSelector: {labels: {app: gateway}}\n  configPatches:\n"
        "  - applyTo: CLUSTER\n    match:\n      context: SIDECAR_OUTBOUND\n    patch:\n"
        f"      operation: ADD\n      value: {value}\n"
    )
    assert main(["mesh", *command, *paths, str(bad)]) == exits.FAILURE
    captured = capsys.readouterr()
    said = captured.out if command == ["lint"] else captured.err
    assert f"{bad}:{line}" in said
    assert message in said
    assert "Traceback" not in said


def test_without_a_platform_and_without_paths_there_is_nothing_to_explain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path))
    assert explain([]) == exits.NOT_RUNNING
    assert "causeway up" in capsys.readouterr().err


def test_the_graph_comes_in_three_forms(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", "graph", *paths]) == exits.OK
    assert "→ session.causeway.svc.cluster.local:8080 (mutual TLS)" in capsys.readouterr().out
    assert main(["mesh", "graph", "--format", "dot", *paths]) == exits.OK
    assert capsys.readouterr().out.startswith("digraph mesh {")
    assert main(["mesh", "graph", "--format", "json", *paths]) == exits.OK
    edges = json.loads(capsys.readouterr().out)["edges"]
    (edge,) = [item for item in edges if (item["client"], item["server"]) == ("gateway", "session")]
    assert edge["priorities"]["us-west-2"] == [["us-west-2"], ["us-east-1"]]


def test_without_a_method_the_way_of_a_health_check_is_explained(
    paths: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ways = ["--from", "gateway", "--to", "session", "--region", "us-east-1"]
    assert main(["mesh", "explain", *ways, *paths]) == exits.OK
    assert "/grpc.health.v1.Health/Check" in capsys.readouterr().out


def test_the_configuration_of_a_proxy_is_printed_without_secrets(
    paths: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mesh", "config", "session", "--region", "us-west-2", "--manifests", *paths]) == exits.OK
    document = json.loads(capsys.readouterr().out)
    assert document["proxy"] == "causeway/session-us-west-2"
    assert set(document["resources"]) <= {"CDS", "EDS", "LDS", "RDS", "ECDS"}
    assert document["resources"]["LDS"]


def test_the_configuration_can_be_narrowed_to_a_type_and_names(
    paths: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--region", "us-west-2", "--type", "CDS", "--name", r"\|8080\|.*session"]
    assert main(["mesh", "config", "gateway", *options, "--manifests", *paths]) == exits.OK
    assert list(json.loads(capsys.readouterr().out)["resources"]["CDS"]) == [
        "outbound|8080||session.causeway.svc.cluster.local"
    ]


def told(here: Layout, region: str, *proxies: dict[str, object], **more: object) -> None:
    """A region with this word of its control plane."""
    here.topology.mkdir(parents=True, exist_ok=True)
    (here.topology / f"workloads-{region}.yaml").write_text("")
    status = here.control_status(region)
    status.parent.mkdir(parents=True, exist_ok=True)
    document = {"region": region, "updated": time.time(), "proxies": list(proxies), **more}
    status.write_text(json.dumps(document))


def session(state: str = "synced", **more: object) -> dict[str, object]:
    """The proxy of session, as a control plane speaks of it."""
    return {
        "name": "session-us-west-2",
        "kind": "sidecar",
        "locality": "us-west-2/us-west-2a",
        "connected": True,
        "state": state,
        "problem": "",
        "streams": [{"since": 1.0, "rejections": [], "waiting": {}}],
        **more,
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A platform's folder, with nothing in it."""
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path))
    return Layout(tmp_path)


def test_when_all_are_synced_the_status_says_so(home: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    told(home, "us-west-2", session())
    assert main(["mesh", "status", "--json"]) == exits.OK
    document = json.loads(capsys.readouterr().out)
    assert document["synced"]
    assert [(item["proxy"], item["state"]) for item in document["proxies"]] == [
        ("envoy-session@us-west-2", "synced")
    ]


def test_a_proxy_that_is_not_synced_is_told_with_its_reason(
    home: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected = {"type": "CDS", "resource": "outbound|1||x", "reason": "no such field"}
    told(
        home,
        "us-west-2",
        session("nacked", streams=[{"since": 1.0, "rejections": [rejected], "waiting": {}}]),
    )
    assert main(["mesh", "status"]) == exits.FAILURE
    said = capsys.readouterr().out
    assert "nacked" in said
    assert "CDS outbound|1||x: no such field" in said


@pytest.mark.parametrize(
    "proxy, more, words",
    [
        (session("absent", connected=False, streams=[]), {}, "absent"),
        (session("stale", connected=False), {}, "connected to no control plane"),
        (session(problem="ValueError: no"), {}, "ValueError: no"),
        (
            session(),
            {"problems": [{"what": "causeway/session", "reason": "the authority has expired"}]},
            "✗ certificate: us-west-2: causeway/session: the authority has expired",
        ),
    ],
)
def test_what_is_not_as_it_should_be_makes_the_status_fail(
    home: Layout,
    capsys: pytest.CaptureFixture[str],
    proxy: dict[str, object],
    more: dict[str, object],
    words: str,
) -> None:
    told(home, "us-west-2", proxy, **more)
    assert main(["mesh", "status"]) == exits.FAILURE
    assert words in capsys.readouterr().out
    assert main(["mesh", "status", "--json"]) == exits.FAILURE
    assert not json.loads(capsys.readouterr().out)["synced"]


def test_a_control_plane_that_does_not_run_is_named_and_none_at_all_is_another_exit_code(
    home: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    told(home, "us-west-2", session())
    told(home, "us-east-1", updated=1.0)
    assert main(["mesh", "status"]) == exits.FAILURE
    assert "✗ the control plane of us-east-1 does not run" in capsys.readouterr().out
    told(home, "us-west-2", session(), updated=1.0)
    assert main(["mesh", "status"]) == exits.NOT_RUNNING
    assert "no control plane is running" in capsys.readouterr().err


def test_a_region_that_was_stopped_on_purpose_is_missed_by_nobody(
    home: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    told(
        home,
        "us-west-2",
        session(),
        {
            **session("absent"),
            "name": "session-us-east-1",
            "locality": "us-east-1/us-east-1a",
            "connected": False,
            "streams": [],
        },
    )
    told(home, "us-east-1", updated=1.0)
    running = {"us-west-2": "envoy-session@us-west-2", "us-east-1": "envoy-session@us-east-1"}
    state.save(
        home.state,
        state.PlatformState(
            phase="running",
            processes=[state.ProcessStatus(name=name, region=region) for region, name in running.items()],
            regions={"us-west-2": RegionStatus(wish="run"), "us-east-1": RegionStatus(wish="stop")},
        ),
    )
    assert main(["mesh", "status"]) == exits.OK
    assert "us-east-1" not in capsys.readouterr().out

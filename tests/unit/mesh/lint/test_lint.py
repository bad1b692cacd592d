"""What is around the rules: exceptions, which files belong together, the command, the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import main
from mesh.lint import Severity, lint
from mesh.lint.calls import heaviest_chains
from mesh.lint.document import README, render
from mesh.lint.examine import examine
from mesh.lint.methods import platform_methods
from mesh.lint.sources import sets
from mesh.manifests import Text, read

SHARED = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
TRAP = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: session
  namespace: causeway
  annotations: {{{annotation}}}
spec:
  host: session.causeway.svc.cluster.local
  trafficPolicy:
    outlierDetection:
      consecutiveGatewayErrors: 10
"""


def trap(annotation: str = "") -> str:
    return TRAP.format(annotation=annotation)


def kustomization(folder: Path, *resources: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"  - {resource}\n" for resource in resources)
    (folder / "kustomization.yaml").write_text(SHARED + lines, "utf-8")


def test_a_manifest_may_break_a_rule_on_purpose() -> None:
    allowed = trap("lint.causeway.dev/allow: gateway-errors-never-counted")
    assert [one.rule for one in lint(read([Text("a.yaml", trap())]))] == ["gateway-errors-never-counted"]
    assert lint(read([Text("a.yaml", allowed)])) == ()


def test_an_exception_for_no_rule_is_an_error() -> None:
    found = lint(read([Text("a.yaml", trap("lint.causeway.dev/allow: gateway-errors"))]))
    assert {one.rule for one in found} == {"allow-unknown", "gateway-errors-never-counted"}


def test_findings_say_where_why_and_what_to_do() -> None:
    (found,) = lint(read([Text("a.yaml", trap())]))
    assert str(found).startswith("a.yaml:11: warning gateway-errors-never-counted session.causeway.svc")
    assert found.path == "spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors"
    assert found.manifest == "DestinationRule causeway/session"
    assert found.why
    assert found.fix


def test_the_order_of_the_input_does_not_change_the_findings() -> None:
    one = Text("a.yaml", trap())
    other = Text("b.yaml", trap().replace("session", "policy"))
    assert lint(read([one, other])) == lint(read([other, one]))


def test_each_kustomization_that_no_other_includes_is_a_mesh_of_its_own(tmp_path: Path) -> None:
    kustomization(tmp_path / "base")
    kustomization(tmp_path / "west", "../base")
    kustomization(tmp_path / "east", "../base")
    (tmp_path / "mesh.yaml").write_text("", "utf-8")
    topology = tmp_path / "elsewhere.yaml"
    assert sets([tmp_path, topology]) == (
        (tmp_path / "mesh.yaml", topology, tmp_path / "east"),
        (tmp_path / "mesh.yaml", topology, tmp_path / "west"),
    )


def test_a_folder_without_kustomizations_is_one_mesh(tmp_path: Path) -> None:
    assert sets([tmp_path]) == ((tmp_path,),)


def test_what_two_meshes_share_is_found_once(tmp_path: Path) -> None:
    kustomization(tmp_path / "base", "session.yaml")
    (tmp_path / "base" / "session.yaml").write_text(trap(), "utf-8")
    kustomization(tmp_path / "west", "../base")
    kustomization(tmp_path / "east", "../base")
    assert [one.rule for one in examine([tmp_path])] == ["gateway-errors-never-counted"]


def test_what_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(trap().replace("consecutiveGatewayErrors", "consecutiveGatewayError"), "utf-8")
    (found,) = examine([file])
    assert (found.rule, found.severity, found.file, found.line) == ("manifest", Severity.ERROR, str(file), 11)


def test_the_platforms_rpcs_are_known_by_path() -> None:
    methods = platform_methods()
    assert not methods["/causeway.gateway.v1.ChatService/Complete"].repeatable
    assert methods["/causeway.gateway.v1.ChatService/Chat"].streams
    assert methods["/causeway.policy.v1.QuotaService/Reserve"].repeatable


def test_a_chain_of_calls_is_followed_once_round_a_circle() -> None:
    edges = {
        "front": frozenset({"gateway"}),
        "gateway": frozenset({"session", "triton"}),
        "session": frozenset({"gateway"}),
    }
    weights = {"gateway": 3, "session": 2, "triton": 5}
    chains = heaviest_chains(edges, lambda host: weights.get(host, 1))
    assert chains == (("front", "gateway", "triton"),)


def test_an_expression_made_to_take_for_ever_is_not_tried() -> None:
    hostile = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gateway, namespace: causeway}
spec:
  hosts: [gateway.causeway.svc.cluster.local]
  http:
    - match: [{uri: {regex: "(/?([a-zA-Z0-9.]+)+)+[!]"}}]
      route: [{destination: {host: gateway.causeway.svc.cluster.local}}]
"""
    assert lint(read([Text("a.yaml", hostile)]), platform_methods()) == ()


@pytest.mark.parametrize("text,code", [(trap(), 0), (trap().replace("10", "0"), 0), ("a: [", 1)])
def test_the_command_fails_on_errors_only(
    text: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text, "utf-8")
    assert main(["mesh", "lint", str(file), "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert bool(document["errors"]) == bool(code)


def test_the_command_prints_file_line_severity_rule_and_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(trap(), "utf-8")
    assert main(["mesh", "lint", "--explain", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{file}:11: warning gateway-errors-never-counted session.")
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["why", "fix"]
    assert lines[-1] == "1 warning"


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", "lint", str(tmp_path / "absent")]) == 2
    assert "there is no" in capsys.readouterr().err


def test_the_readme_is_what_the_rules_say() -> None:
    assert README.read_text("utf-8") == render()

"""Files, folders and texts: what is read, passed over and refused, and what is not read twice."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.manifests import ManifestErrors, Manifests, Position, Text, position_of, read
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.kubernetes import Service
from mesh.manifests.mesh_config import MeshConfig
from mesh.manifests.virtual_service import VirtualService
from mesh.manifests.workload import WorkloadEntry

SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}
  namespace: causeway
spec:
  hosts:
  - session
  http:
  - retries:
      attempts: 2
      retryOn: unavailable
    route:
    - destination:
        host: session
"""


def workload(number: int) -> str:
    """As the supervisor writes it."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: session-{number}
  namespace: causeway
  labels:
    app: session
    topology.istio.io/network: ""
spec:
  address: 127.{number // 65536}.{number // 256 % 256}.{number % 256}
  ports:
    grpc: 9443
  labels:
    app: session
    version: v1
    topology.kubernetes.io/region: us-west-2
  locality: us-west-2/us-west-2a
  serviceAccount: session
"""


def error_of(*sources: Path | Text) -> str:
    """What is wrong."""
    with pytest.raises(ManifestErrors) as caught:
        read(sources)
    return str(caught.value)


def document(kind: str, api_version: str, spec: str = "spec: {}") -> Text:
    """A small document."""
    return Text("f.yaml", f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n{spec}\n")


def test_every_message_and_field_remembers_its_place() -> None:
    (manifest,) = read([Text("f.yaml", "\n---\n" + SERVICE.format(name="a"))]).of(VirtualService)
    (route,) = manifest.spec.http
    assert manifest.at == Position("f.yaml", 3, "")
    assert manifest.spec.at == Position("f.yaml", 8, "spec")
    assert route.at == Position("f.yaml", 12, "spec.http[0]")
    assert position_of(manifest.spec, "hosts", 0) == Position("f.yaml", 10, "spec.hosts[0]")
    assert route.retries is not None
    assert position_of(route.retries, "retry_on") == Position("f.yaml", 14, "spec.http[0].retries.retryOn")
    assert position_of(route, "timeout") == Position("f.yaml", 12, "spec.http[0].timeout")


def test_messages_are_equal_by_what_they_say() -> None:
    first, second = (
        read([Text(name, SERVICE.format(name="a"))]).of(VirtualService)[0] for name in ("f", "g")
    )
    assert first.spec == second.spec
    assert first.spec.at != second.spec.at
    assert repr(first.spec) == repr(second.spec)


def test_the_namespace_is_kubectls_default() -> None:
    (manifest,) = read(
        [
            document(
                "VirtualService", "networking.istio.io/v1", SERVICE.partition("spec:")[2].join(["spec:", ""])
            )
        ]
    ).of(VirtualService)
    assert manifest.namespace == "default"


@pytest.mark.parametrize(
    "kind,versions",
    [
        (
            "VirtualService",
            ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"],
        ),
        ("EnvoyFilter", ["networking.istio.io/v1alpha3"]),
        ("PeerAuthentication", ["security.istio.io/v1", "security.istio.io/v1beta1"]),
        ("Telemetry", ["telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1"]),
        ("IstioOperator", ["install.istio.io/v1alpha1"]),
    ],
)
def test_all_versions_of_a_kind_are_read_and_no_others(kind: str, versions: list[str]) -> None:
    for version in versions:
        try:
            read([document(kind, version)])
        except ManifestErrors as errors:
            assert "apiVersion" not in str(errors)  # noqa: PT017
    group = versions[0].partition("/")[0]
    assert f"f.yaml:1 apiVersion: {kind} has the apiVersion {versions[0]}" in error_of(
        document(kind, f"{group}/v7")
    )


@pytest.mark.parametrize(
    "kind,api_version",
    [
        ("Deployment", "apps/v1"),
        ("ServiceAccount", "v1"),
        ("Namespace", "v1"),
        ("ConfigMap", "v1"),
        ("Kustomization", "kustomize.config.k8s.io/v1beta1"),
        ("HorizontalPodAutoscaler", "autoscaling/v2"),
        ("ClusterRole", "rbac.authorization.k8s.io/v1"),
    ],
)
def test_kubernetes_own_kinds_are_passed_over(kind: str, api_version: str) -> None:
    assert len(read([document(kind, api_version, "data: {a: [b]}")])) == 0


@pytest.mark.parametrize(
    "kind,api_version,message",
    [
        (
            "WasmPlugin",
            "extensions.istio.io/v1alpha1",
            "2 kind: WasmPlugin is not supported: proxies run no WebAssembly",
        ),
        ("ProxyConfig", "networking.istio.io/v1beta1", "2 kind: ProxyConfig is not supported"),
        (
            "VirtualServise",
            "networking.istio.io/v1",
            "2 kind: networking.istio.io/v1 has no kind VirtualServise: did you mean VirtualService?",
        ),
        (
            "VirtualService",
            "networking.istio.oi/v1",
            "1 apiVersion: VirtualService is of networking.istio.io (v1), not of",
        ),
        ("HTTPRoute", "gateway.networking.k8s.io/v1", "2 kind: HTTPRoute of the Gateway API is not read"),
        (
            "Certificate",
            "cert-manager.io/v1",
            "2 kind: Certificate of cert-manager.io/v1 is neither Istio's nor Kubernetes' own",
        ),
        ("List", "v1", "2 kind: List is not supported: write its items as documents of their own"),
    ],
)
def test_other_kinds_that_would_do_something_are_refused(kind: str, api_version: str, message: str) -> None:
    assert f"f.yaml:{message}" in error_of(document(kind, api_version))


def test_mesh_config_in_a_config_map_is_refused_since_it_is_read_elsewhere() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: '{}'\n"
    assert "f.yaml:5 data.mesh: MeshConfig is read from spec.meshConfig" in error_of(Text("f.yaml", text))


def test_mesh_config_comes_from_the_one_istio_operator() -> None:
    one = document("IstioOperator", "install.istio.io/v1alpha1", "spec: {meshConfig: {trustDomain: here}}")
    two = Text("g.yaml", str(one.content).replace("name: a", "name: b"))
    assert read([one]).mesh_config.trust_domain == "here"
    assert read([]).mesh_config == MeshConfig()
    assert "g.yaml:1: there is one IstioOperator in a mesh; the first is in f.yaml:1" in error_of(one, two)


def test_the_same_manifest_twice_is_an_error_that_names_both_places() -> None:
    twice = SERVICE.format(name="a").replace("/v1\n", "/v1beta1\n")
    message = error_of(Text("f.yaml", SERVICE.format(name="a")), Text("g.yaml", "---\n" + twice))
    assert message == "g.yaml:2: VirtualService causeway/a is there twice; the first is in f.yaml:1"


@pytest.mark.parametrize(
    "text,message",
    [
        ("- a\n", "f.yaml:1: a document must be a map"),
        ("kind: VirtualService\n", "f.yaml:1 apiVersion: is missing"),
        ("apiVersion: v1\nkind: [a]\n", "f.yaml:2 kind: must be text, not a list"),
        (SERVICE.format(name="a") + "status: {}\n", "f.yaml:16 status: the cluster writes it"),
        (
            SERVICE.format(name="a") + "sepc: {}\n",
            "f.yaml:16 sepc: VirtualService has no field sepc: did you mean spec?",
        ),
        (SERVICE.format(name="A_b"), "f.yaml:4 metadata.name: `A_b` is not a name"),
        (SERVICE.replace("  name: {name}\n", ""), "metadata.name: is missing"),
        (
            SERVICE.format(name="a").replace("namespace: causeway", "namespace: Cause.way"),
            "f.yaml:5 metadata.namespace:",
        ),
        (
            SERVICE.format(name="a").replace("namespace: causeway", "uid: x"),
            "f.yaml:5 metadata.uid: is not supported",
        ),
        (
            SERVICE.format(name="a").replace("namespace: causeway", "labels: {a/b/c: x}"),
            "metadata.labels.a/b/c:",
        ),
        (
            SERVICE.format(name="a").replace("namespace: causeway", "labels: {a: x y}"),
            "`x y` is not the value of a label",
        ),
        (SERVICE.format(name="a").partition("spec")[0], "f.yaml:1 spec: is missing"),
    ],
)
def test_a_document_says_what_it_is_and_no_more(text: str, message: str) -> None:
    assert message in error_of(Text("f.yaml", text))


def test_a_folder_is_read_by_name_and_hidden_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(SERVICE.format(name="b"))
    (tmp_path / "a.yml").write_text(SERVICE.format(name="a"))
    (tmp_path / "notes.txt").write_text("not YAML: [")
    (tmp_path / ".c.yaml").write_text("not YAML: [")
    manifests = read([tmp_path])
    assert [manifest.name for manifest in manifests] == ["a", "b"]
    assert sorted(manifest.created for manifest in manifests) == [manifest.created for manifest in manifests]
    assert manifests.of(VirtualService)[0].at.file == str(tmp_path / "a.yml")


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert "nothing.yaml: cannot be read: No such file or directory" in error_of(tmp_path / "nothing.yaml")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.yaml").write_text("")
    assert "folder: is a folder in a folder without a kustomization: name it" in error_of(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "pipe.yaml: is neither a file nor a folder" in error_of(tmp_path)


def test_a_kubernetes_service_is_read_as_far_as_a_registry_needs() -> None:
    text = """\
apiVersion: v1
kind: Service
metadata: {name: policy, namespace: causeway}
spec:
  sessionAffinity: None
  clusterIP: 10.0.0.7
  selector: {app: policy}
  ports: [{name: grpc, port: 8080, targetPort: 9443, nodePort: 31000}]
status: {loadBalancer: {}}
"""
    (service,) = read([Text("f.yaml", text)]).of(Service)
    assert (service.spec.ports[0].port, service.spec.ports[0].target_port) == (8080, "9443")


def test_unchanged_files_are_taken_from_the_former_result(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(SERVICE.format(name=name))
    before = read([tmp_path])
    (tmp_path / "b.yaml").write_text(SERVICE.format(name="b").replace("attempts: 2", "attempts: 3"))
    (tmp_path / "aa.yaml").write_text(SERVICE.format(name="aa"))
    after = read([tmp_path], former=before)
    kept = {manifest.name: manifest for manifest in before}
    assert [manifest.name for manifest in after] == ["a", "aa", "b", "c"]
    assert [kept.get(manifest.name) is manifest for manifest in after] == [True, False, False, True]
    (tmp_path / "c.yaml").unlink()
    assert [manifest.name for manifest in read([tmp_path], former=after)] == ["a", "aa", "b"]


def test_a_file_that_was_wrong_is_read_again() -> None:
    good, bad = Text("f.yaml", SERVICE.format(name="a")), Text("f.yaml", SERVICE.format(name="a") + "x: 1\n")
    before = read([good])
    with pytest.raises(ManifestErrors):
        read([bad], former=before)
    assert read([good], former=before).all[0] is before.all[0]


def test_duplicates_are_found_among_files_that_did_not_change() -> None:
    one = Text("f.yaml", SERVICE.format(name="a"))
    before = read([one])
    with pytest.raises(ManifestErrors, match="is there twice"):
        read([one, Text("g.yaml", SERVICE.format(name="a"))], former=before)


def test_five_thousand_workloads_are_read_in_seconds_and_unchanged_ones_at_once(tmp_path: Path) -> None:
    for part in range(5):
        (tmp_path / f"{part}.yaml").write_text(
            "---\n".join(workload(part * 1000 + each) for each in range(1000))
        )
    started = time.process_time()
    manifests = read([tmp_path])
    first = time.process_time() - started
    started = time.process_time()
    again: Manifests = read([tmp_path], former=manifests)
    second = time.process_time() - started
    assert len(again.of(WorkloadEntry)) == 5000
    assert again.of(DestinationRule) == ()
    assert first < 20
    assert second < 1


def test_a_file_that_changed_long_ago_is_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["mesh.manifests.read"], "SETTLED", -60.0)
    file = tmp_path / "a.yaml"
    file.write_text(SERVICE.format(name="a"))
    before = read([tmp_path])
    opened: list[Path] = []
    really = Path.open

    def opening(path: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(path)
        return really(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", opening)
    after = read([tmp_path], former=before)
    assert opened == []
    assert after.all[0] is before.all[0]
    (tmp_path / "new").write_text(SERVICE.format(name="b"))
    (tmp_path / "new").replace(file)
    assert [manifest.name for manifest in read([tmp_path], former=after)] == ["b"]


def test_a_file_that_changed_just_now_is_opened_again(tmp_path: Path) -> None:
    """Two changes within one tick of the file system's clock look like one."""
    file = tmp_path / "a.yaml"
    file.write_text(SERVICE.format(name="a"))
    before = read([tmp_path])
    assert before.sources[str(file)].stamps == {}

"""A folder with a kustomization is read as `kustomize build` renders it, and every field keeps its place."""

# ruff: noqa: E501  # one case a line

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from mesh.manifests import Manifest, ManifestErrors, Manifests, position_of, read
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.kubernetes import Service
from mesh.manifests.message import Message

RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: session
spec:
  host: session.causeway.svc.cluster.local
  exportTo: ["."]
  trafficPolicy:
    outlierDetection:
      consecutiveGatewayErrors: 1
      interval: 1s
  subsets:
  - name: v1
    labels: {version: v1}
  - name: v2
    labels: {version: v2}
"""


def write(folder: Path, files: dict[str, str]) -> None:
    """Writes files, dedented."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def rule(manifests: Manifests) -> Manifest[DestinationRule]:
    """The one DestinationRule."""
    (found,) = manifests.of(DestinationRule)
    return found


def overlay(tmp_path: Path, kustomization: str, **files: str) -> Path:
    """An overlay over the rule above."""
    write(tmp_path, {"base/kustomization.yaml": "resources: [rule.yaml]\n", "base/rule.yaml": RULE})
    write(tmp_path / "overlay", {"kustomization.yaml": kustomization, **files})
    return tmp_path / "overlay"


def error_of(folder: Path) -> str:
    """What is wrong, with paths from the folder above."""
    with pytest.raises(ManifestErrors) as caught:
        read([folder])
    return str(caught.value).replace(f"{folder.parent}/", "")


def interval(manifest: Manifest[DestinationRule]) -> tuple[float, str, int]:
    """A field that patches change, and where it was written."""
    policy = manifest.spec.traffic_policy
    assert policy is not None
    assert policy.outlier_detection is not None
    assert policy.outlier_detection.interval is not None
    at = position_of(policy.outlier_detection, "interval")
    assert at.path == "spec.trafficPolicy.outlierDetection.interval"
    return policy.outlier_detection.interval.total_seconds(), Path(at.file).name, at.line


def test_resources_of_a_base_are_read_with_their_places(tmp_path: Path) -> None:
    manifest = rule(read([overlay(tmp_path, "resources: [../base]\n")]))
    assert manifest.at.file == str(tmp_path / "base" / "rule.yaml")
    assert interval(manifest) == (1.0, "rule.yaml", 11)


def test_a_merge_patch_changes_what_it_names_and_replaces_lists(tmp_path: Path) -> None:
    folder = overlay(
        tmp_path,
        """\
        apiVersion: kustomize.config.k8s.io/v1beta1
        kind: Kustomization
        resources: [../base]
        patches:
        - path: patch.yaml
        """,
        **{
            "patch.yaml": """\
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata:
              name: session
            spec:
              exportTo: null
              trafficPolicy:
                outlierDetection:
                  interval: 5s
              subsets:
              - name: v3
            """
        },
    )
    manifest = rule(read([folder]))
    assert interval(manifest) == (5.0, "patch.yaml", 9)
    assert [subset.name for subset in manifest.spec.subsets] == ["v3"]
    assert manifest.spec.export_to == ()
    assert manifest.spec.subsets[0].at.file == str(folder / "patch.yaml")
    assert manifest.spec.traffic_policy is not None
    outlier = manifest.spec.traffic_policy.outlier_detection
    assert outlier is not None
    assert outlier.consecutive_gateway_errors == 1


def test_a_patch_in_place_keeps_the_lines_of_the_kustomization(tmp_path: Path) -> None:
    folder = overlay(
        tmp_path,
        """\
        resources: [../base]
        patches:
        - target: {kind: DestinationRule}
          patch: |-
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata:
              name: any
            spec:
              trafficPolicy:
                outlierDetection:
                  interval: 7s
        """,
    )
    manifest = rule(read([folder]))
    assert manifest.name == "session"
    assert interval(manifest) == (7.0, "kustomization.yaml", 12)


def test_a_json_patch_does_all_six_operations(tmp_path: Path) -> None:
    folder = overlay(
        tmp_path,
        """\
        resources: [../base]
        patches:
        - target: {group: networking.istio.io, version: v1, kind: DestinationRule, name: ses.*|other}
          patch: |-
            - op: test
              path: /spec/subsets/0/name
              value: v1
            - op: replace
              path: /spec/trafficPolicy/outlierDetection/interval
              value: 9s
            - op: add
              path: /spec/subsets/-
              value: {name: v3}
            - op: add
              path: /metadata/annotations
              value: {causeway.dev/x: "1"}
            - op: replace
              path: /metadata/annotations/causeway.dev~1x
              value: "2"
            - op: copy
              from: /spec/subsets/0
              path: /spec/subsets/0
            - op: replace
              path: /spec/subsets/0/name
              value: v0
            - op: move
              from: /spec/subsets/3
              path: /spec/subsets/0
            - op: remove
              path: /spec/exportTo
        """,
    )
    manifest = rule(read([folder]))
    assert interval(manifest) == (9.0, "kustomization.yaml", 10)
    assert [subset.name for subset in manifest.spec.subsets] == ["v3", "v0", "v1", "v2"]
    assert [dict(subset.labels) for subset in manifest.spec.subsets[1:3]] == [
        {"version": "v1"},
        {"version": "v1"},
    ]
    assert manifest.spec.export_to == ()
    assert manifest.annotations == {"causeway.dev/x": "2"}


def test_namespace_labels_and_annotations_are_put_on_everything(tmp_path: Path) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: policy}\nspec: {ports: [{port: 80}]}\n"
    folder = overlay(
        tmp_path,
        """\
        resources: [../base, service.yaml]
        namespace: causeway
        labels:
        - pairs: {region: us-west-2}
        - pairs: {app: policy}
          includeSelectors: true
        commonLabels: {part-of: causeway}
        commonAnnotations: {causeway.dev/owner: us}
        """,
        **{"service.yaml": service},
    )
    manifests = read([folder])
    assert {manifest.namespace for manifest in manifests} == {"causeway"}
    manifest = rule(manifests)
    assert manifest.labels == {"region": "us-west-2", "app": "policy", "part-of": "causeway"}
    assert manifest.annotations == {"causeway.dev/owner": "us"}
    (found,) = manifests.of(Service)
    assert found.spec.selector == {"app": "policy", "part-of": "causeway"}
    assert position_of(found.spec, "selector", "app").file == str(folder / "kustomization.yaml")


def test_a_component_changes_what_is_there_and_an_overlay_deletes(tmp_path: Path) -> None:
    folder = overlay(
        tmp_path,
        """\
        resources: [../base, other.yaml]
        components: [../component]
        patches:
        - patch: |-
            $patch: delete
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata: {name: other}
        """,
        **{"other.yaml": RULE.replace("name: session", "name: other")},
    )
    write(
        tmp_path / "component",
        {
            "kustomization.yaml": """\
            apiVersion: kustomize.config.k8s.io/v1alpha1
            kind: Component
            patches:
            - target: {labelSelector: "!="}
              path: patch.yaml
            """,
            "patch.yaml": "- {op: replace, path: /spec/trafficPolicy/outlierDetection/interval, value: 3s}\n",
        },
    )
    assert "must be of the form name=value,name" in error_of(folder)
    kustomization = tmp_path / "component" / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace('{labelSelector: "!="}', "{name: session}"))
    assert interval(rule(read([folder]))) == (3.0, "patch.yaml", 1)


def test_a_patch_finds_a_resource_by_the_name_it_had_in_its_base(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"base/kustomization.yaml": "resources: [rule.yaml]\nnamespace: causeway\n", "base/rule.yaml": RULE},
    )
    patch = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: session%s}\nspec: {host: a}\n"
    for namespace in ("", ", namespace: causeway"):
        write(
            tmp_path / "overlay",
            {
                "kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}]\n",
                "p.yaml": patch % namespace,
            },
        )
        assert rule(read([tmp_path / "overlay"])).spec.host == "a"


@pytest.mark.parametrize(
    "kustomization,message",
    [
        ("resources: [../base]\nnamePrefix: a-\n", "kustomization.yaml:2 namePrefix: is not supported: names that"),
        ("resources: [../base]\nconfigurations: [a]\n", "kustomization.yaml:2 configurations: is not supported"),
        ("resources: [../base]\nresorces: [a]\n", "kustomization.yaml:2 resorces: Kustomization has no field resorces: did you mean resources?"),
        ("resources: [nothing.yaml]\n", "kustomization.yaml:1 resources[0]: there is no `nothing.yaml` beside"),
        ("resources: [/etc/passwd]\n", "kustomization.yaml:1 resources[0]: there is no `/etc/passwd` beside"),
        ("resources: [../base/rule.yaml]\n", "resources[0]: `../base/rule.yaml` must be a file in the kustomization's folder"),
        ("resources: ['https://a/b']\n", "resources[0]: nothing is fetched from elsewhere"),
        ("resources: [../base, ../base]\n", "kustomization.yaml:1 resources[1]: DestinationRule session is there twice"),
        ("resources: [../overlay]\n", "resources[0]: `../overlay` contains this kustomization itself"),
        ("resources: [..]\n", "kustomization.yaml:1 resources[0]: `..` is a folder without a kustomization"),
        ("resources: [../base]\nkind: Component\n", "kustomization.yaml:2 kind: must be Kustomization here"),
        ("resources: [../base]\npatches: [{patch: '[]'}]\n", "kustomization.yaml:2 patches[0].target: is missing: a JSON patch"),
        ("resources: [../base]\npatches: [{target: {name: nobody}, patch: '[]'}]\n", "patches[0].target: matches no resource"),
        ("resources: [../base]\npatches: [{target: {name: '(a'}, patch: '[]'}]\n", "patches[0].target.name: must be a name"),
        ("resources: [../base]\npatches: [{path: ../base/rule.yaml}]\n", "patches[0].path: must be a file in"),
        ("resources: [../base]\npatches: [{}]\n", "patches[0]: must have one of path, patch"),
        ("resources: [../base]\npatches: [{patch: '{kind: A, metadata: {name: b}}'}]\n", "kustomization.yaml:2: there is no A b to be patched"),
        ("resources: [../base]\npatches: [{target: {kind: DestinationRule}, patch: '{spec: {$patch: replace}}'}]\n", "kustomization.yaml:2 spec.$patch: $patch is not supported here"),
        ("resources: [../base]\npatches: [{target: {kind: DestinationRule}, patch: '[{op: replace, path: /metadata/name, value: a}]'}]\n", "kustomization.yaml:2: a patch does not change which resource it is"),
        ("resources: [../base]\npatches: [{target: {kind: DestinationRule}, patch: '[{op: remove, path: /spec/nothing}]'}]\n", "kustomization.yaml:2: there is no /spec/nothing"),
        ("resources: [../base]\npatches: [{target: {kind: DestinationRule}, patch: '[{op: test, path: /spec/host, value: a}]'}]\n", "kustomization.yaml:2: test: /spec/host is something else"),
        ("resources: [../base]\npatches: [{target: {kind: DestinationRule}, patch: '[{op: add, path: /spec/subsets/7, value: a}]'}]\n", "kustomization.yaml:2: there is no /spec/subsets/7 to add to"),
        ("resources: [../base]\npatches: [{target: {kind: DestinationRule}, patch: '{spec: {hst: a}}'}]\n", "kustomization.yaml:2 spec.hst: DestinationRule has no field hst: did you mean host?"),
        ("[a]\n", "must be a map with the fields of Kustomization"),
        ("", "must have one document"),
    ],
)  # fmt: skip
def test_what_is_not_rendered_is_an_error(tmp_path: Path, kustomization: str, message: str) -> None:
    assert message in error_of(overlay(tmp_path, kustomization)).replace("overlay/", "", 1)


def test_lists_of_a_service_are_not_merged_without_their_keys(tmp_path: Path) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: policy}\nspec: {ports: [{port: 80}]}\n"
    folder = overlay(
        tmp_path,
        "resources: [service.yaml]\npatches: [{target: {kind: Service}, patch: '{spec: {ports: [{port: 81}]}}'}]\n",
        **{"service.yaml": service},
    )
    assert "spec.ports: lists of Kubernetes' own kinds are merged by keys: write a JSON patch" in error_of(
        folder
    )


def test_an_overlay_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    folder = overlay(tmp_path, "resources: [../base]\n")
    before = read([folder])
    again = read([folder], former=before)
    assert again.all[0] is before.all[0]
    base = tmp_path / "base" / "rule.yaml"
    base.write_text(RULE.replace("interval: 1s", "interval: 2s"))
    after = read([folder], former=again)
    assert interval(rule(after))[0] == 2.0
    specs: list[Message] = [manifest.spec for manifest in after]
    assert specs != [manifest.spec for manifest in before]


def test_a_bomb_of_folders_is_refused(tmp_path: Path) -> None:
    for depth in range(14):
        write(tmp_path, {f"{depth}/kustomization.yaml": f"resources: [../{depth + 1}, ../{depth + 1}]\n"})
    write(tmp_path, {"14/kustomization.yaml": "resources: []\n"})
    assert "the kustomization reads more than 1000 files" in error_of(tmp_path / "0")

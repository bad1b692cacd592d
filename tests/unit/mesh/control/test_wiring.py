"""Whom a change of manifests is tried on before it is taken over, and how a patch that fails is told."""

from __future__ import annotations

import textwrap

import pytest

from mesh.control.pipeline import BadManifests, Problem
from mesh.control.wiring import pipeline
from mesh.manifests import Manifests, Text, read

STEPS = pipeline()
FILTER = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: extra, namespace: shop}
spec:
  workloadSelector: {labels: {patched: 'yes'}}
  configPatches:
  - applyTo: CLUSTER
    patch: {operation: ADD, value: {name: PassthroughCluster}}
"""


def workload(name: str, patched: str = "yes") -> Text:
    return Text(
        f"{name}.yaml",
        textwrap.dedent(f"""\
            apiVersion: networking.istio.io/v1
            kind: WorkloadEntry
            metadata: {{name: {name}, namespace: shop}}
            spec:
              address: 127.1.0.1
              labels: {{app: {name}, patched: '{patched}'}}
              serviceAccount: {name}
            """),
    )


def manifests(*texts: Text, former: Manifests | None = None) -> Manifests:
    return read(texts, former=former)


def test_only_those_are_tried_whom_a_filter_patches() -> None:
    told = STEPS.index(manifests(workload("a"), workload("b", "no")), None)
    assert not list(STEPS.trials(told, None))
    told = STEPS.index(manifests(workload("a"), workload("b", "no"), Text("filter.yaml", FILTER)), told)
    assert [proxy.name for proxy in STEPS.trials(told, None)] == ["a"]


def test_while_only_workloads_change_only_theirs_are_tried() -> None:
    extra = Text("filter.yaml", FILTER)
    before = manifests(extra, workload("a"), workload("b"), workload("c"))
    former = STEPS.index(before, None)
    assert [proxy.name for proxy in STEPS.trials(former, None)] == ["a", "b", "c"]
    now = manifests(extra, workload("a"), workload("b", "no"), workload("d"), former=before)
    assert [proxy.name for proxy in STEPS.trials(STEPS.index(now, former), former)] == ["d"]
    changed = Text("filter.yaml", FILTER.replace("ADD", "MERGE"))
    now = manifests(changed, workload("a"), workload("b"), workload("c"), former=before)
    assert [proxy.name for proxy in STEPS.trials(STEPS.index(now, former), former)] == ["a", "b", "c"]


def test_a_patch_that_cannot_be_applied_is_a_problem_of_its_manifest() -> None:
    index = STEPS.index(manifests(workload("a"), Text("filter.yaml", FILTER)), None)
    (proxy,) = STEPS.trials(index, None)
    with pytest.raises(BadManifests) as raised:
        STEPS.translate(STEPS.resolve(index, proxy))
    assert raised.value.problems == (
        Problem(
            file="filter.yaml",
            line=7,
            path="spec.configPatches[0]",
            message="there is a CLUSTER PassthroughCluster already",
        ),
    )
    assert str(raised.value).startswith("filter.yaml:7 spec.configPatches[0]: there is a CLUSTER")

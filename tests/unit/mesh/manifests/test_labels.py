"""What may be a label of a metric."""

from __future__ import annotations

import pytest
from unit.mesh.manifests.labels_cel import NEVER_RIGHT, REFUSED, TAKEN

from mesh.manifests.checks.cel import label_problem, unwrapped


@pytest.mark.parametrize("expression", TAKEN)
def test_what_envoy_can_work_out_is_taken(expression: str) -> None:
    assert label_problem(expression) is None


@pytest.mark.parametrize("expression, reason", [*REFUSED, *NEVER_RIGHT])
def test_what_it_cannot_or_what_has_no_bounds_is_refused(expression: str, reason: str) -> None:
    assert reason in (label_problem(expression) or "")


@pytest.mark.parametrize(
    "expression, reason",
    [
        ("(" * 1000 + "1" + ")" * 1000, "nests too deeply"),
        ("response.code == 200 ? request.path : 'x'", "`request.path` has no bounds"),
        ("request[r'path']", "`request.path` has no bounds"),
    ],
)
def test_neither_depth_nor_spelling_gets_around_that(expression: str, reason: str) -> None:
    assert reason in (label_problem(expression) or "")


@pytest.mark.parametrize(
    "expression, plain",
    [
        ("string(destination.port)", "destination.port"),
        (" string( destination.port )\n", "destination.port"),
        ("string(a) == string(b)", "string(a) == string(b)"),
        ("string(')(')", "')('"),
        ("a ||\nb", "a || b"),
    ],
)
def test_a_conversion_around_everything_is_left_out(expression: str, plain: str) -> None:
    assert unwrapped(expression) == plain

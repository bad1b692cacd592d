"""Each rule has an example that breaks it, and it alone, in the marked lines; and one that does not.

`cases/<rule>.yaml` holds both. Its first line may ask for more of the surroundings (`cases/_*.yaml`) than
mutual TLS and connection ages, or for less.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mesh.lint import RULES, lint
from mesh.lint.methods import Method, platform_methods
from mesh.manifests import Manifests, Text, read

CASES = Path(__file__).with_name("cases")
MARK = "# here"


@pytest.fixture(scope="module")
def methods() -> Mapping[str, Method]:
    return platform_methods()


def split(rule: str) -> tuple[list[Text], str, str]:
    text = (CASES / f"{rule}.yaml").read_text("utf-8")
    wanted = ["strict", "age"]
    first = text.partition("\n")[0]
    for word in first.removeprefix("# with:").split() if first.startswith("# with:") else ():
        if word.startswith("-"):
            wanted.remove(word[1:])
        else:
            wanted.append(word)
    around = [Text(f"_{name}", (CASES / f"_{name}.yaml").read_text("utf-8")) for name in wanted]
    bad, _, good = text.partition("# ==== good\n")
    return around, bad, good


def read_case(around: list[Text], text: str) -> Manifests:
    return read([*around, Text("case", text)])


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_a_rule_finds_its_trap_and_nothing_else_where_it_is(rule: str, methods: Mapping[str, Method]) -> None:
    around, bad, _ = split(rule)
    marked = {number for number, line in enumerate(bad.splitlines(), 1) if line.endswith(MARK)}
    found = lint(read_case(around, bad), methods)
    assert {one.rule for one in found} == {rule}
    assert {(one.file, one.line) for one in found} == {("case", number) for number in marked}


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_a_rule_is_silent_where_its_fix_was_made(rule: str, methods: Mapping[str, Method]) -> None:
    around, _, good = split(rule)
    assert [str(one) for one in lint(read_case(around, good), methods)] == []


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    cases = {path.stem for path in CASES.glob("[a-z]*.yaml")}
    assert cases == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.id))
def test_a_rule_says_what_it_finds_why_and_what_to_do(rule: object) -> None:
    for part in ("finds", "why", "fix"):
        text = getattr(rule, part)
        assert text
        assert text[-1] in ".…" or "github.com" in text[-60:]
    assert str(getattr(rule, "source", "")).startswith("https://")


def test_the_surroundings_of_the_cases_break_no_rule(methods: Mapping[str, Method]) -> None:
    texts = [Text(path.name, path.read_text("utf-8")) for path in sorted(CASES.glob("_*.yaml"))]
    assert [str(one) for one in lint(read(texts), methods)] == []

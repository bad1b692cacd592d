"""Of a file, only what changed is read again, and nobody can tell the difference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.manifests import ManifestErrors, Manifests, Text, read
from mesh.manifests.limits import LIMITS
from mesh.manifests.parts import parts

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: b}}
spec:
  address: {address}
"""


def entry(name: str, address: str = "10.0.0.1") -> str:
    return ENTRY.format(name=name, address=address)


def read_text(text: str, former: Manifests | None = None) -> Manifests:
    return read([Text("f.yaml", text)], former=former)


def outcome(text: str, former: Manifests | None = None) -> list[str]:
    """All that can be seen of what was read, or what is wrong."""
    try:
        manifests = read_text(text, former)
    except ManifestErrors as errors:
        return [str(error) for error in errors.errors]
    return [f"{one.created} {one.at} {one.spec.at} {one.spec.places} {one!r}" for one in manifests]


def test_only_the_document_that_changed_is_read_again() -> None:
    before = read_text("---\n".join(entry(name) for name in "abc"))
    after = read_text("---\n".join((entry("a"), entry("b", "10.0.0.9"), entry("c"))), before)
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_a_document_that_moved_is_told_of_where_it_is_now() -> None:
    before = read_text("---\n".join(entry(name) for name in "ab"))
    after = read_text("# one line more\n" + "---\n".join(entry(name) for name in "ab"), before)
    assert [one.at.line for one in before] == [1, 7]
    assert [one.at.line for one in after] == [2, 8]
    fewer = read_text("\n" * 6 + entry("b"), before)
    assert [(one.at.line, one.created[2]) for one in fewer] == [(7, 0)]


def test_what_is_wrong_is_told_as_if_all_had_been_read() -> None:
    before = read_text("---\n".join(entry(name) for name in "abc"))
    bad = "---\n".join((entry("a", "nowhere!"), entry("b"), entry("c") + "more: 1\n"))
    assert outcome(bad, before) == outcome(bad)
    assert len(outcome(bad)) == 2
    assert read_text("---\n".join(entry(name) for name in "abc"), before).all == before.all


@pytest.mark.parametrize(
    "text",
    [
        "%YAML 1.1\n---\na: b\n",
        "a: b\n...\nc: d\n",
        "a: b\r\n---\r\nc: d\r\n",
        "a: b\x85---\nc: d\n",
        "a: b\u2028---\nc: d\n",
        "\ufeffa: b\n",
        b"a: \xff\n",
        b"a" * (LIMITS.file_nodes // 2 + 1),
    ],
)
def test_where_it_is_not_sure_what_belongs_together_a_file_is_not_cut(text: str | bytes) -> None:
    assert parts(text if isinstance(text, bytes) else text.encode(), LIMITS) is None


def test_a_file_is_cut_before_each_document() -> None:
    text = "# first\na: 1\n---\nb: |\n  ---\n --- no\n---no\n--- {c: 3}\n---"
    found = parts(text.encode(), LIMITS)
    assert found is not None
    assert "".join(part.text for part in found) == text
    assert [(part.lines_before, part.text.partition("\n")[0]) for part in found] == [
        (0, "# first"),
        (2, "---"),
        (7, "--- {c: 3}"),
        (8, "---"),
    ]


PIECES = (
    entry("a"),
    entry("b"),
    entry("b", "10.0.0.7"),
    entry("c").replace("spec:", "spec: # why\n"),
    entry("d").replace("b}", 'b, annotations: {x: "---"}}'),
    entry("e").replace("b}", "b\n, annotations: {x: 'a\n ---\n b'}}"),
    entry("f") + "  wieght: 3\n",
    "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: x}\n",
    "# nothing\n",
    "",
    "a: [\n",
    "x: 'text\n",
    "...\n",
    "%YAML 1.1\n",
    "\n\n",
    "key: &anchor 1\n",
    "\tx: 1\n",
    "a: 1\r\n",
    "'\n",
    "]\n",
)
SEPARATORS = ("---\n", "--- # next\n", "---\t\n", "----\n", " ---\n", "--- \n", "")
FILES = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(SEPARATORS)), max_size=6).map(
    lambda found: "".join(part for pair in found for part in pair)
)
GOOD = st.lists(st.sampled_from(PIECES[:1] + PIECES[3:6] + PIECES[7:10]), max_size=5, unique=True).map(
    "---\n".join
)


@given(GOOD, FILES | GOOD)
@settings(max_examples=400, deadline=None)
def test_a_file_read_in_parts_is_what_it_is_as_a_whole(former: str, now: str) -> None:
    assert outcome(now, read_text(former)) == outcome(now)

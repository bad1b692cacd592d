"""Whatever the manifest reader is given, it reads it or says what is wrong: nothing else comes out."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.manifests import ManifestErrors, Manifests, Text, read
from mesh.manifests.kinds import KINDS
from mesh.manifests.kustomization import Kustomization
from mesh.manifests.message import Message
from mesh.manifests.schema import schema_of
from mesh.manifests.table import messages, roots

EXAMPLES = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parents[1] / "unit/mesh/manifests/examples").iterdir())
]
DEADLINE = timedelta(seconds=5)
"""For one input; a few milliseconds are usual."""
fuzzed = settings(max_examples=150, deadline=DEADLINE, suppress_health_check=[HealthCheck.too_slow])


def field_names() -> list[str]:
    """Every field there is, supported or rejected."""
    found: set[str] = set()
    for root in roots():
        message: type[Message]
        for message in messages(root.message):
            found |= {*schema_of(message).fields, *message.rejected}
    return sorted(found)


WORDS = st.sampled_from(
    [
        "a",
        "a.b",
        "*",
        "*.a",
        "./*",
        "mesh",
        "HTTP",
        "GRPC",
        "STRICT",
        "ALLOW",
        "1s",
        "0s",
        "10.0.0.1",
        "10.0.0.0/8",
        "on",
        "yes",
        "null",
        "1.0",
        "0x1",
        "{",
        "(",
        "[a",
        "a{9}",
        "%",
        "/a/{*}",
        "spiffe://a",
        "us-west-2/a",
        "/subsets",
        "{}",
        "x:y",
        "$patch",
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text(max_size=20))
KEYS = st.one_of(st.sampled_from(field_names()), st.text(max_size=10))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=30,
)
TOKENS = st.sampled_from(
    ["&a ", "*a", "!!str ", "<<: ", "? ", "- ", "---\n", "[", "]", "{", "}", ": ", "|\n", ">", "'", '"', "\t"]
) | st.sampled_from(
    [
        "\0",
        "\u2028",
        "\ufeff",
        "%TAG ! a:\n",
        "%YAML 9.9\n",
        "#",
        "~",
        "null",
        "-1",
        "9" * 40,
        "a" * 300,
        "\n",
    ]
)


def outcome(*sources: Path | Text) -> Manifests | None:
    """The manifests, or None when it said what is wrong."""
    try:
        return read(sources)
    except ManifestErrors as errors:
        found = errors.errors
    assert found
    assert all(error.message and error.line >= 0 and str(error).isprintable() for error in found)
    return None


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
@fuzzed
def test_any_text_is_read_or_refused(content: str | bytes) -> None:
    outcome(Text("f.yaml", content))


@given(st.sampled_from(KINDS), VALUES, st.dictionaries(KEYS, VALUES, max_size=3))
@fuzzed
def test_any_structure_is_read_or_refused(kind: object, spec: object, metadata: object) -> None:
    found = next(each for each in KINDS if each is kind)
    version = f"{found.group}/{found.versions[0]}" if found.group else found.versions[0]
    document = {
        "apiVersion": version,
        "kind": found.name,
        "metadata": {"name": "a", **(metadata if isinstance(metadata, dict) else {})},
        "spec": spec,
    }
    outcome(Text("f.yaml", yaml.safe_dump(document, allow_unicode=True)))


@given(st.data(), st.sampled_from(EXAMPLES))
@fuzzed
def test_a_valid_manifest_with_a_part_replaced_is_read_or_refused(data: st.DataObject, example: str) -> None:
    text = example
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.one_of(TOKENS, WORDS, st.text(max_size=5))) + text[end:]
    outcome(Text("f.yaml", text))


@given(st.data(), st.sampled_from(EXAMPLES))
@fuzzed
def test_a_valid_manifest_with_a_value_replaced_is_read_or_refused(data: st.DataObject, example: str) -> None:
    document = data.draw(st.sampled_from([each for each in yaml.safe_load_all(example) if each]))
    place = document
    while isinstance(place, dict | list) and place:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(VALUES)
            break
        place = inner
    outcome(Text("f.yaml", yaml.safe_dump(document, allow_unicode=True)))


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(schema_of(Kustomization).fields)), KEYS), VALUES, max_size=5
    )
)
@fuzzed
def test_any_kustomization_is_read_or_refused(kustomization: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "a"
        base.mkdir()
        (base / "kustomization.yaml").write_text("resources: [a.yaml]\n")
        (base / "a.yaml").write_text(EXAMPLES[0], encoding="utf-8")
        overlay = {"resources": ["a"], **kustomization}
        (Path(folder) / "kustomization.yaml").write_text(
            yaml.safe_dump(overlay, allow_unicode=True), encoding="utf-8"
        )
        outcome(Path(folder))


@given(
    st.one_of(
        st.dictionaries(st.sampled_from(["spec", "metadata", "kind", "$patch", "status"]), VALUES),
        st.lists(
            st.fixed_dictionaries(
                {
                    "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]),
                    "path": st.one_of(
                        st.sampled_from(
                            [
                                "/spec",
                                "/spec/http/0",
                                "/spec/http/-",
                                "/metadata/name",
                                "",
                                "/",
                                "/spec/hosts",
                            ]
                        ),
                        st.text(max_size=10),
                    ),
                },
                optional={
                    "value": VALUES,
                    "from": st.sampled_from(["/spec", "/spec/http", "/", "/spec/http/0/route"]),
                },
            ),
            max_size=6,
        ),
    )
)
@fuzzed
def test_any_patch_is_applied_or_refused(patch: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.yaml").write_text(EXAMPLES[-1], encoding="utf-8")
        patches = [{"target": {"kind": ".*"}, "patch": yaml.safe_dump(patch, allow_unicode=True)}]
        (Path(folder) / "kustomization.yaml").write_text(
            yaml.safe_dump({"resources": ["a.yaml"], "patches": patches}), encoding="utf-8"
        )
        outcome(Path(folder))


@given(
    st.sampled_from(["[", "{a: ", "- ", "? ", "'", "&a [", "!a ", "<<: {", "a: |\n ", "\t", "-\n "]),
    st.integers(1, 20_000),
)
@settings(max_examples=60, deadline=timedelta(seconds=10))
def test_the_same_token_many_times_is_refused_soon(token: str, times: int) -> None:
    outcome(Text("f.yaml", token * times))

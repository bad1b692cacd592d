"""What YAML can do beyond JSON is refused, and text is never taken for something else."""

from __future__ import annotations

import pytest

from mesh.manifests import ManifestErrors, Manifests, Text, read
from mesh.manifests.limits import LIMITS, Limits
from mesh.manifests.workload import WorkloadEntry

HEAD = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a, namespace: b}\n"


def errors_of(text: str | bytes, limits: Limits = LIMITS) -> list[str]:
    """What is wrong with a file."""
    try:
        read([Text("f.yaml", text)], limits=limits)
    except ManifestErrors as errors:
        return [str(error) for error in errors.errors]
    return []


def workload(spec: str) -> str:
    """A WorkloadEntry whose spec begins in line 5."""
    return HEAD + "spec:\n" + "".join(f"  {line}\n" for line in spec.splitlines())


def read_workload(spec: str) -> WorkloadEntry:
    """The WorkloadEntry."""
    manifests: Manifests = read([Text("f.yaml", workload(spec))])
    return manifests.of(WorkloadEntry)[0].spec


@pytest.mark.parametrize(
    "spec,message",
    [
        ("address: &here 127.0.0.1", "f.yaml:5 spec.address: YAML anchors are not allowed"),
        ("address: 127.0.0.1\nlabels: *here", "is not YAML: found undefined alias"),
        ("address: !!str 127.0.0.1", "f.yaml:5 spec.address: YAML tags are not allowed"),
        ("address: !python/object:os.system 127.0.0.1", "f.yaml:5 spec.address: YAML tags are not allowed"),
        ("address: 127.0.0.1\nlabels: !!map {a: b}", "f.yaml:6 spec.labels: YAML tags are not allowed"),
        ("address: 127.0.0.1\n<<: {weight: 1}", "f.yaml:6 spec.<<: YAML merge keys are not allowed"),
        (
            "address: 127.0.0.1\naddress: 127.0.0.2",
            "f.yaml:6 spec.address: the key is there twice; the first is in line 5",
        ),
        ("address: 127.0.0.1\ntrue: 1", "f.yaml:6 spec.true: the key is a boolean in YAML"),
        ("address: 127.0.0.1\non: 1", "f.yaml:6 spec.on: the key is a boolean to some readers"),
        ("address: 127.0.0.1\n~: 1", "f.yaml:6 spec.~: the key is nothing in YAML"),
        ("address: 127.0.0.1\n1.5: 1", "f.yaml:6 spec.1.5: the key is a decimal number in YAML"),
        ("address: 127.0.0.1\n? [a]\n: 1", "f.yaml:6 spec.?: a key must be text"),
        ("address: 127.0.0.1\nlabels: {1: a}", "f.yaml:6 spec.labels.1: the key `1` is a number in YAML"),
        ("address: 127.0.0.1\n7: a", "f.yaml:6 spec.7: WorkloadEntry has no field 7"),
    ],
)
def test_yaml_beyond_json_is_refused_with_its_place(spec: str, message: str) -> None:
    found = errors_of(workload(spec))
    if "undefined alias" in message:
        assert any("YAML aliases are not allowed" in error or "undefined alias" in error for error in found)
    else:
        assert any(error.startswith(message) for error in found), found


@pytest.mark.parametrize("word", ["on", "off", "yes", "No", "y", "N", "true", "False", "null", "~"])
def test_words_that_yaml_takes_for_booleans_are_not_text(word: str) -> None:
    (error,) = errors_of(workload(f"address: 127.0.0.1\nlabels: {{app: {word}}}"))
    assert error.startswith("f.yaml:6 spec.labels.app: ")
    assert "in quotes" in error or "is empty" in error
    assert read_workload(f'address: 127.0.0.1\nlabels: {{app: "{word}"}}'.replace("~", "tilde")).labels[
        "app"
    ] in (
        word,
        "tilde",
    )


@pytest.mark.parametrize(
    "number", ["1", "1.0", "1e3", "010", "0x1F", "1_000", "0b1", ".5", ".inf", "-1", "+1", "0o7"]
)
def test_numbers_are_not_text(number: str) -> None:
    (error,) = errors_of(workload(f"address: 127.0.0.1\nlabels: {{version: {number}}}"))
    assert error.startswith(f"f.yaml:6 spec.labels.version: must be text, and `{number}` is a")
    assert error.endswith("put it in quotes")


@pytest.mark.parametrize(
    "text", ["1.2.3", "v1", "2026-11-23", "12:30", "1.2.3.4", "one", "yesterday", "e3", "0.1.x"]
)
def test_text_that_only_looks_like_something_else_stays_text(text: str) -> None:
    assert (
        read_workload(f"address: 127.0.0.1\nlabels: {{version: x}}\nserviceAccount: a\nlocality: {text}")
        is not None
    )


@pytest.mark.parametrize(
    "value", ['"8080"', "8080.0", "0x1f90", "010", "8_080", "eight", "true", "[8080]", "{}", "1e3"]
)
def test_only_plain_digits_are_whole_numbers(value: str) -> None:
    (error,) = errors_of(workload(f"address: 127.0.0.1\nports: {{grpc: {value}}}"))
    assert error.startswith("f.yaml:6 spec.ports.grpc: must be a whole number in plain digits, not ")


@pytest.mark.parametrize("value", ["-1", "4294967296", "9999999999999999999"])
def test_whole_numbers_have_the_range_of_their_field(value: str) -> None:
    (error,) = errors_of(workload(f"address: 127.0.0.1\nweight: {value}"))
    assert error.startswith("f.yaml:6 spec.weight: must be ")


@pytest.mark.parametrize("value", ["", "~", "null"])
def test_a_field_without_a_value_is_an_error(value: str) -> None:
    (error,) = errors_of(workload(f"address: 127.0.0.1\nweight: {value}"))
    assert error == "f.yaml:6 spec.weight: is empty: leave it out, or write a value"


def test_all_errors_of_all_documents_are_told_in_the_order_of_the_file() -> None:
    documents = [
        workload("address: 127.0.0.1\nwieght: 3\nlabels: {a: 1}"),
        workload("address: nowhere!").replace("name: a", "name: c"),
        "kind: WorkloadEntry\n",
    ]
    assert errors_of("---\n".join(documents)) == [
        "f.yaml:6 spec.wieght: WorkloadEntry has no field wieght: did you mean weight?",
        "f.yaml:7 spec.labels.a: must be text, and `1` is a number: put it in quotes",
        "f.yaml:13 spec.address: `nowhere!` is neither an IP address nor a host name",
        "f.yaml:15 apiVersion: is missing: every document says its apiVersion and kind",
    ]


def test_documents_before_a_syntax_error_are_still_checked() -> None:
    found = errors_of(workload("address: nowhere!\n") + "---\na: [b\n")
    assert found[0] == "f.yaml:5 spec.address: `nowhere!` is neither an IP address nor a host name"
    assert found[1].startswith("f.yaml:8: is not YAML: ")


@pytest.mark.parametrize(
    "text,limits,message",
    [
        ("a: " + "[" * 60 + "]" * 60, Limits(), "nested more than 48 deep"),
        ("a: " + "{b: " * 5000, Limits(), "nested more than 48 deep"),
        ("a: [" + "1," * 30_000 + "]", Limits(), "the document has more than 20000 values"),
        ("---\na: [1, 2]\n" * 30, Limits(file_nodes=100), "the file has more than 100 values"),
        ("---\na: 1\n" * 30, Limits(documents=10), "more than 10 documents in one file"),
        ("a: " + "x" * 200, Limits(scalar_characters=100), "longer than 100 characters"),
        ("a: " + "x" * 200, Limits(file_bytes=100), "is larger than 100 bytes"),
    ],
)
def test_more_than_anybody_writes_is_refused(text: str, limits: Limits, message: str) -> None:
    assert any(message in error for error in errors_of(text, limits))


def test_no_more_errors_are_told_than_somebody_can_read() -> None:
    found = errors_of(workload("address: 127.0.0.1\n" + "\n".join(f"f{number}: 1" for number in range(900))))
    assert len(found) == 501
    assert found[-1] == ": and 400 more errors"


def test_control_characters_and_foreign_encodings_are_refused() -> None:
    assert "is not YAML" in errors_of("a: \x00\n")[0]
    assert "is not UTF-8" in errors_of(b"\xff\xfe")[0]
    assert "is not UTF-8" in errors_of("a: \ud800")[0]
    assert errors_of(b"\xef\xbb\xbf" + workload("address: 127.0.0.1").encode()) == []


def test_empty_documents_are_nothing() -> None:
    assert errors_of("") == []
    assert errors_of("# only a comment\n---\n---\n# another\n") == []


@pytest.mark.parametrize(
    "written,seconds",
    [("1s", 1), ("1.5s", 1.5), ("250ms", 0.25), ("1h30m", 5400), ("0s", 0), ("2m0.5s", 120.5)],
)
def test_durations_are_as_go_has_them(written: str, seconds: float) -> None:
    text = f"""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a}}
spec:
  host: a
  trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {{name: c, ttl: {written}}}}}}}}}
"""
    from mesh.manifests.destination_rule import DestinationRule

    rule = read([Text("f.yaml", text)]).of(DestinationRule)[0].spec
    assert rule.traffic_policy is not None
    assert rule.traffic_policy.load_balancer is not None
    assert rule.traffic_policy.load_balancer.consistent_hash is not None
    cookie = rule.traffic_policy.load_balancer.consistent_hash.http_cookie
    assert cookie is not None
    assert cookie.ttl is not None
    assert cookie.ttl.total_seconds() == seconds


@pytest.mark.parametrize(
    "written", ["5", "1", "-1s", "1 s", "s", "1d", "1e3s", "99999999h", "1ns", '"5"', "[]"]
)
def test_what_is_not_a_duration_is_refused(written: str) -> None:
    text = f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec:
  hosts: [a]
  http: [{{timeout: {written}, route: [{{destination: {{host: a}}}}]}}]
"""
    (error,) = errors_of(text)
    assert error.startswith("f.yaml:6 spec.http[0].timeout: must ")

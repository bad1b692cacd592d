"""Names: of objects, hosts, labels, ports, and who sees what."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from mesh.manifests.common import LabelsSelector, WorkloadSelector
from mesh.manifests.findings import Findings
from mesh.manifests.message import Message, shown
from mesh.manifests.metadata import Metadata

_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_WILDCARD_LABEL = re.compile(r"\*|(?:\*-?)?[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_OBJECT = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def is_dns_label(text: str) -> bool:
    """One part of a host name (RFC 1123)."""
    return _LABEL.fullmatch(text) is not None


def is_object_name(text: str) -> bool:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names."""
    return len(text) <= 253 and _OBJECT.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    """An IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_ip_or_cidr(text: str) -> bool:
    """An IP address or a range of them."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def host_problem(host: str, *, wildcard: bool = False) -> str | None:
    """What is wrong with a host name; with `wildcard` its first label may be or begin with `*`."""
    if not host or len(host) > 255:
        return "must be a host name of 1 to 255 characters"
    first, *rest = host.split(".")
    if not (_WILDCARD_LABEL.fullmatch(first) if wildcard else _LABEL.fullmatch(first)):
        return f"`{shown(host)}` is not a host name: `{shown(first)}` is no label"
    if rest and rest[-1] == "":
        rest.pop()
    if rest and rest[-1].isdigit():
        return f"`{shown(host)}` is not a host name: its last label must not be a number"
    for label in rest:
        if not _LABEL.fullmatch(label):
            return f"`{shown(host)}` is not a host name: `{shown(label)}` is no label"
    if not rest and first.isdigit():
        return f"`{shown(host)}` is not a host name: its last label must not be a number"
    return None


def label_problem(key: str, value: str) -> str | None:
    """What is wrong with a label."""
    prefix, _, name = key.rpartition("/")
    if prefix and not is_object_name(prefix.lower()):
        return f"the label's prefix `{shown(prefix)}` is not a host name"
    if not _QUALIFIED.fullmatch(name):
        return f"`{shown(key)}` is not the name of a label"
    if value and not _QUALIFIED.fullmatch(value):
        return f"`{shown(value)}` is not the value of a label: at most 63 letters, digits, `-`, `_` and `.`"
    return None


def check_labels(message: Message, name: str, labels: Mapping[str, str], findings: Findings) -> None:
    """Each label is well formed."""
    for key, value in labels.items():
        problem = label_problem(key, value)
        if problem is not None:
            findings.field(message, name, problem, key)


def check_metadata(metadata: Metadata, findings: Findings) -> None:
    """The name is there and well formed, and so is the rest."""
    if not metadata.name:
        findings.field(metadata, "name", "is missing")
    elif not is_object_name(metadata.name):
        findings.field(
            metadata, "name", f"`{shown(metadata.name)}` is not a name: lower case, digits, `-` and `.`"
        )
    if metadata.namespace and not (
        (is_dns_label(metadata.namespace) and metadata.namespace.islower()) or metadata.namespace.isdigit()
    ):
        findings.field(metadata, "namespace", f"`{shown(metadata.namespace)}` is not the name of a namespace")
    check_labels(metadata, "labels", metadata.labels, findings)
    for key in metadata.annotations:
        problem = label_problem(key, "")
        if problem is not None:
            findings.field(
                metadata,
                "annotations",
                problem.replace("a label", "an annotation").replace("the label", "the annotation"),
                key,
            )


def check_selector(
    message: Message, name: str, selector: WorkloadSelector | LabelsSelector | None, findings: Findings
) -> None:
    """A selector names labels, without wildcards."""
    if selector is None:
        return
    inner = "match_labels" if isinstance(selector, WorkloadSelector) else "labels"
    labels = selector.match_labels if isinstance(selector, WorkloadSelector) else selector.labels
    if not labels:
        findings.field(message, name, "selects by no label, which means all workloads: leave it out")
    for key, value in labels.items():
        if "*" in key or "*" in value:
            findings.field(selector, inner, "wildcards are not allowed in a selector", key)
        elif (problem := label_problem(key, value)) is not None:
            findings.field(selector, inner, problem, key)


def check_export_to(
    message: Message,
    namespace: str,
    export_to: Iterable[str],
    findings: Findings,
    *,
    none_allowed: bool = False,
) -> None:
    """`.`, `*`, a namespace, and `~` for a ServiceEntry; no contradiction among them."""
    entries = list(export_to)
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        key = namespace if entry == "." else entry
        if key in seen:
            findings.field(message, "export_to", f"`{shown(entry)}` is there twice", index)
        seen.add(key)
        if (entry == "~" and none_allowed) or entry in (".", "*"):
            continue
        if not is_dns_label(entry):
            findings.field(
                message, "export_to", f"`{shown(entry)}` is neither `.`, `*` nor a namespace", index
            )
    for entry in ("*", "~"):
        if entry in seen and len(entries) > 1:
            findings.field(message, "export_to", f"`{entry}` must stand alone")


def check_gateway_names(message: Message, gateways: Iterable[str], findings: Findings) -> None:
    """`mesh`, `name` or `namespace/name`."""
    for index, gateway in enumerate(gateways):
        parts = gateway.split("/")
        if len(parts) > 2 or not all(is_dns_label(part) for part in parts):
            findings.field(
                message, "gateways", f"`{shown(gateway)}` is not of the form namespace/name", index
            )


def check_namespaced_host(
    message: Message, index: int, host: str, findings: Findings, *, gateway: bool
) -> None:
    """`namespace/host`, as Sidecar and Gateway have it."""
    namespace, slash, name = host.partition("/")
    if not slash:
        if not gateway:
            findings.field(message, "hosts", f"`{shown(host)}` is not of the form namespace/host", index)
            return
        namespace, name = "*", host
    allowed = ("*", ".") if gateway else ("*", ".", "~")
    if namespace not in allowed and not is_dns_label(namespace):
        findings.field(message, "hosts", f"`{shown(namespace)}` is not the name of a namespace", index)
    if gateway and is_ip(name):
        return
    if name != "*" and "." not in name:
        findings.field(message, "hosts", f"`{shown(name)}` is a short name: write the whole host name", index)
    elif (problem := host_problem(name, wildcard=True)) is not None:
        findings.field(message, "hosts", problem, index)
    elif "*" in name and name != "*" and not name.startswith("*."):
        findings.field(message, "hosts", f"`{shown(name)}`: a wildcard stands for whole labels", index)

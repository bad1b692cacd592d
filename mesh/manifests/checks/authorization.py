"""Sources, operations and conditions of an AuthorizationPolicy.

Source: https://istio.io/latest/docs/reference/config/security/conditions/, and for path templates
https://istio.io/latest/docs/reference/config/security/authorization-policy/#Operation.
"""

from __future__ import annotations

import re

from mesh.manifests.checks.names import is_ip_or_cidr, is_object_name
from mesh.manifests.findings import Findings
from mesh.manifests.message import Message, shown
from mesh.manifests.security import Condition, Operation, Source

_SOURCE = (
    "principals", "request_principals", "namespaces", "service_accounts", "trust_domains", "ip_blocks",
    "remote_ip_blocks",
)  # fmt: skip
_OPERATION = ("hosts", "ports", "methods", "paths")
_NOT_FOR_CUSTOM = ("principals", "request_principals", "namespaces", "service_accounts", "trust_domains")
_PLAIN_KEYS = frozenset(
    {
        "source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount",
        "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
        "destination.ip", "destination.port", "connection.sni",
    }
)  # fmt: skip
_KEYED = re.compile(
    r"request\.headers\[[^\[\]]+\]|request\.auth\.claims(\[[^\[\]]+\])+|experimental\.envoy\.filters\.[^\[\]]+(\[[^\[\]]+\])?"
)
_SEGMENT = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]*")


def check_source(source: Source, *, custom: bool, findings: Findings) -> None:
    """Who calls."""
    names = [prefix + name for name in _SOURCE for prefix in ("", "not_")]
    if not any(getattr(source, name) for name in names):
        findings.check(source.at, "must say something")
    for name in names:
        values: tuple[str, ...] = getattr(source, name)
        kind = name.removeprefix("not_")
        if values and custom and kind in _NOT_FOR_CUSTOM:
            findings.field(
                source, name, "is not supported by CUSTOM, which is asked before identities are looked at"
            )
        for index, value in enumerate(values):
            problem = _source_problem(kind, value)
            if problem is not None:
                findings.field(source, name, problem, index)
    if (source.service_accounts or source.not_service_accounts) and any(
        getattr(source, name) for name in ("principals", "not_principals", "namespaces", "not_namespaces")
    ):
        findings.field(source, "service_accounts", "must not stand beside principals or namespaces")


def _source_problem(kind: str, value: str) -> str | None:
    if not value:
        return "is empty"
    if kind == "principals" and value.startswith("spiffe://"):
        return "a principal is written without `spiffe://`"
    if kind == "trust_domains" and "/" in value:
        return "a trust domain is what stands between `spiffe://` and the path, without a `/`"
    if kind in ("ip_blocks", "remote_ip_blocks") and not is_ip_or_cidr(value):
        return f"`{shown(value)}` is no IP address or CIDR"
    if kind == "service_accounts":
        parts = value.split("/")
        if len(parts) > 2 or not all(is_object_name(part) for part in parts):
            return f"`{shown(value)}` is not of the form namespace/name"
    return None


def check_operation(operation: Operation, findings: Findings) -> None:
    """What is called."""
    names = [prefix + name for name in _OPERATION for prefix in ("", "not_")]
    if not any(getattr(operation, name) for name in names):
        findings.check(operation.at, "must say something")
    for name in names:
        values: tuple[str, ...] = getattr(operation, name)
        for index, value in enumerate(values):
            problem = "is empty" if not value else None
            if value and name.endswith("ports"):
                problem = _port_problem(value)
            elif value and name.endswith("paths"):
                problem = _path_problem(value)
            if problem is not None:
                findings.field(operation, name, problem, index)


def _port_problem(value: str) -> str | None:
    if value.isascii() and value.isdigit() and len(value) <= 5 and 1 <= int(value) <= 65535:
        return None
    return f"must be a port from 1 to 65535, not `{shown(value)}`"


def _path_problem(path: str) -> str | None:
    """What is wrong with a path that uses the templates `{*}` and `{**}`."""
    if "{" not in path and "}" not in path:
        return None
    if not path.startswith("/"):
        return f"`{shown(path)}`: a path with a template begins with `/`"
    segments = path[1:].split("/")
    for index, segment in enumerate(segments):
        if segment in ("{*}", "{**}"):
            if segment == "{**}" and any(later in ("{*}", "{**}") for later in segments[index + 1 :]):
                return f"`{shown(path)}`: no template may follow `{{**}}`"
        elif "*" in segment or not _SEGMENT.fullmatch(segment):
            return f"`{shown(path)}`: `{shown(segment)}` is neither text nor `{{*}}` nor `{{**}}`"
    return None


def check_condition(condition: Condition, *, custom: bool, findings: Findings) -> None:
    """A key that Istio knows, and values that fit it."""
    key = condition.key
    if key is None:
        findings.field(condition, "key", "is missing")
        return
    if key not in _PLAIN_KEYS and not _KEYED.fullmatch(key):
        findings.field(condition, "key", f"`{shown(key)}` is not an attribute of Istio's")
        return
    if (custom and key in ("source.namespace", "source.principal", "source.serviceAccount")) or (
        custom and key.startswith("request.auth.")
    ):
        findings.field(
            condition, "key", f"{key} is not supported by CUSTOM, which is asked before identities are known"
        )
    if not condition.values and not condition.not_values:
        findings.check(condition.at, "must have values or notValues")
    for name in ("values", "not_values"):
        _check_values(condition, name, key, getattr(condition, name), findings)


def _check_values(message: Message, name: str, key: str, values: tuple[str, ...], findings: Findings) -> None:
    for index, value in enumerate(values):
        problem: str | None = None
        if not value and not key.startswith("request.headers"):
            problem = "is empty"
        elif key in ("source.ip", "remote.ip", "destination.ip") and not is_ip_or_cidr(value):
            problem = f"`{shown(value)}` is no IP address or CIDR"
        elif key == "destination.port":
            problem = _port_problem(value)
        elif key == "source.principal" and value.startswith("spiffe://"):
            problem = "a principal is written without `spiffe://`"
        if problem is not None:
            findings.field(message, name, problem, index)

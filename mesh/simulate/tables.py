"""Which virtual host and which of its routes a request takes.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.simulate import matchers
from mesh.simulate.logic import Truth, every
from mesh.simulate.messages import Proto, which
from mesh.simulate.request import Facts, Request


@dataclass(frozen=True, slots=True)
class FoundHost:
    """The virtual host, and the domain of it that matched."""

    host: Proto
    domain: str


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """The route, and why."""

    route: Proto
    index: int
    """Its place among the host's routes."""
    share: float = 1.0
    """Of the requests that get this far, those that take it."""
    passed: tuple[str, ...] = ()
    """Routes before it that might have taken the request: names, and what is not known of them."""


def without_port(authority: str) -> str:
    """The host of `host:port`."""
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() and not host.endswith(":") else authority


def seen_authority(connection_manager: Proto, authority: str, port: int) -> str:
    """The authority after the connection manager has stripped a port, or a dot at the end."""
    bare = without_port(authority)
    if bare != authority:
        stripped = connection_manager.strip_any_host_port
        matching = connection_manager.strip_matching_host_port and authority.endswith(f":{port}")
        authority = bare if stripped or matching else authority
    if connection_manager.strip_trailing_host_dot and authority.endswith("."):
        authority = authority[:-1]
    return authority


def host_for(table: Proto, authority: str) -> FoundHost | None:
    """Exact domain, then the longest `*suffix`, then the longest `prefix*`, then `*`."""
    wanted = authority.lower()
    if table.ignore_port_in_host_matching:
        wanted = without_port(wanted)
    best: tuple[tuple[int, int], FoundHost] | None = None
    for host in table.virtual_hosts:
        for domain in host.domains:
            rank = _rank(domain.lower(), wanted)
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, FoundHost(host, domain))
    return best[1] if best else None


def _rank(domain: str, wanted: str) -> tuple[int, int] | None:
    """How specific a domain is, the smaller the more; None when it does not match."""
    if domain == "*":
        return (3, 0)
    if domain.startswith("*"):
        # A wildcard stands for at least one character.
        matches = wanted.endswith(domain[1:]) and len(wanted) > len(domain) - 1
        return (1, -len(domain)) if matches else None
    if domain.endswith("*"):
        matches = wanted.startswith(domain[:-1]) and len(wanted) > len(domain) - 1
        return (2, -len(domain)) if matches else None
    return (0, 0) if domain == wanted else None


def needs_tls(host: Proto, request: Request) -> bool:
    """Whether a plaintext request is sent away to https; NONE is 0."""
    return bool(host.require_tls) and request.scheme != "https"


def route_for(host: Proto, facts: Facts, random: float | None) -> FoundRoute | None:
    """The first route that matches.

    A share of requests (`runtime_fraction`) is decided by `random`, else the likelier way is taken. What
    cannot be known counts as no match, and is told.
    """
    passed: list[str] = []
    for index, route in enumerate(host.routes):
        truth = matches(route.match, facts)
        label = route.name or f"route {index}"
        if truth is None:
            passed.append(f"{label}: not known whether it matches")
        if truth is not True:
            continue
        chance = 1.0
        if route.match.HasField("runtime_fraction"):
            chance = matchers.runtime_share(route.match.runtime_fraction)
            if not matchers.falls(chance, random):
                if chance:
                    passed.append(f"{label}: takes {chance:.4%} of requests")
                continue
        return FoundRoute(route, index, chance, tuple(passed))
    return None


def matches(match: Proto, facts: Facts) -> Truth:
    """envoy.config.route.v3.RouteMatch, its `runtime_fraction` aside."""
    request = facts.request
    if request is None:
        return False
    truths = [_path(match, facts)]
    truths += [matchers.header(item, facts) for item in match.headers]
    truths += [matchers.query(item, facts) for item in match.query_parameters]
    truths += [matchers.metadata(item, facts) for item in match.dynamic_metadata]
    if match.HasField("grpc"):
        truths.append(None if request.open else request.is_grpc)
    if match.HasField("tls_context"):
        truths.append(_tls(match.tls_context, facts))
    if match.filter_state:
        truths.append(None)
    return every(truths)


def _path(match: Proto, facts: Facts) -> Truth:
    request = facts.request
    assert request is not None  # noqa: S101 - for the type checker: `matches` has looked
    kind = which(match, "path_specifier")
    if kind == "prefix" and match.prefix in ("", "/"):
        return True
    if request.open:
        return None
    exact = not match.HasField("case_sensitive") or match.case_sensitive.value
    bare = request.bare_path if exact else request.bare_path.lower()
    wanted = str(getattr(match, kind)) if kind in ("prefix", "path", "path_separated_prefix") else ""
    wanted = wanted if exact else wanted.lower()
    if kind == "prefix":
        return (request.path if exact else request.path.lower()).startswith(wanted)
    if kind == "path":
        return bare == wanted
    if kind == "path_separated_prefix":
        return bare == wanted or bare.startswith(wanted + "/")
    if kind == "safe_regex":
        return matchers.regex(match.safe_regex.regex, request.bare_path)
    if kind == "connect_matcher":
        return request.method == "CONNECT"
    return None


def _tls(context: Proto, facts: Facts) -> Truth:
    connection = facts.connection
    truths: list[Truth] = []
    if context.HasField("presented"):
        truths.append(bool(connection.principal) == context.presented.value)
    if context.HasField("validated"):
        truths.append(bool(connection.principal) == context.validated.value)
    return every(truths)


def describe(match: Proto) -> str:
    """A route's conditions in words."""
    kind = which(match, "path_specifier")
    if kind == "safe_regex":
        parts = [f"path ~ {match.safe_regex.regex}"]
    elif kind in ("prefix", "path", "path_separated_prefix"):
        word = "path" if kind == "path" else "prefix"
        parts = [f"{word} {getattr(match, kind)}"]
    else:
        parts = [kind.replace("_", " ")] if kind else []
    parts += [f"header {item.name}" for item in match.headers]
    parts += [f"parameter {item.name}" for item in match.query_parameters]
    return ", ".join(parts)

"""Which requests a route takes."""

from __future__ import annotations

import re

from mesh.lint.methods import Method
from mesh.lint.view import Mesh
from mesh.manifests.common import StringMatch
from mesh.manifests.manifests import Manifest
from mesh.manifests.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService

_PLAIN = re.compile(r"(?P<text>(?:[\w/-]|\\[./-])*)(?P<rest>\.[*+])?")


def takes_path(route: HTTPRoute, path: str) -> bool:
    """Whether some request for a path can match a route, whatever its headers."""
    return not route.match or any(_matches(match.uri, path, match) for match in route.match)


def takes_path_always(route: HTTPRoute, path: str) -> bool:
    """Whether every request for a path matches a route."""
    return not route.match or any(
        _matches(match.uri, path, match) and not conditional(match) for match in route.match
    )


def conditional(match: HTTPMatchRequest) -> bool:
    """Whether a match asks for more than a path."""
    return bool(
        match.scheme
        or match.method
        or match.authority
        or match.headers
        or match.without_headers
        or match.port is not None
        or match.source_labels
        or match.source_namespace
        or match.gateways
        or match.query_params
    )


def methods_of(mesh: Mesh, manifest: Manifest[VirtualService], index: int) -> tuple[Method, ...]:
    """The known RPCs that may take the route of this index, and are not always taken by one before it."""
    *before, route = manifest.spec.http[: index + 1]
    return tuple(
        method
        for method in mesh.methods.values()
        if takes_path(route, method.path)
        and not any(takes_path_always(earlier, method.path) for earlier in before)
        and _serves(mesh, route, method)
    )


def _regex(pattern: str, path: str) -> bool:
    """Whether a pattern is a text, or a text and anything behind it, that a path fits.

    Others are not judged: Python's engine, unlike RE2, can take for ever over a pattern made for that.
    """
    plain = _PLAIN.fullmatch(pattern)
    if plain is None:
        return False
    text = plain["text"].replace("\\", "")
    return path.startswith(text) if plain["rest"] else path == text


def _serves(mesh: Mesh, route: HTTPRoute, method: Method) -> bool:
    """Whether a route for every path is about this RPC: only where no other says it is."""
    if any(match.uri is not None for match in route.match):
        return True
    package = method.path.strip("/").split(".")
    hosts = [target.destination.host or "" for target in route.route if target.destination]
    return any(host.partition(".")[0] in package for host in hosts)


def _matches(uri: StringMatch | None, path: str, match: HTTPMatchRequest) -> bool:
    if uri is None:
        return True
    if uri.regex is not None:
        return _regex(uri.regex, path)
    exact, prefix = uri.exact, uri.prefix
    if match.ignore_uri_case:
        path, exact, prefix = path.lower(), exact and exact.lower(), prefix and prefix.lower()
    if exact is not None:
        return path == exact
    return prefix is None or path.startswith(prefix)

"""RouteMatch: which requests a route takes."""

from __future__ import annotations

import re

from mesh.ir.route import RouteMatch
from mesh.ir.values import ClaimMatcher, MatchKind, NamedMatcher, StringMatcher
from mesh.translate.claims import list_or_string
from mesh.translate.packing import Proto, boolean, header_match, regex, string_match
from mesh.xds.protos import regex_pb2, route_components_pb2


def route_match(match: RouteMatch) -> Proto:
    """All of it must hold."""
    headers = [
        NamedMatcher(name, matcher)
        for name, matcher in (
            (":method", match.method),
            (":authority", match.authority),
            (":scheme", match.scheme),
        )
        if matcher is not None
    ]
    headers = sorted(match.headers, key=lambda item: item.name) + headers
    made = route_components_pb2.RouteMatch(
        headers=[header_match(item) for item in headers],
        query_parameters=[_query(item) for item in match.query],
        dynamic_metadata=[_claim(item) for item in match.claims],
    )
    _set_path(made, match.path)
    return made


def _set_path(made: Proto, path: StringMatcher | None) -> None:
    if path is None or path.kind is MatchKind.PRESENT:
        made.prefix = "/"
        return
    if path.kind is MatchKind.EXACT:
        made.path = path.text
    elif path.kind is MatchKind.PREFIX:
        made.prefix = path.text
    else:
        made.safe_regex.CopyFrom(_as_regex(path))
        return
    if path.ignore_case:
        made.case_sensitive.CopyFrom(boolean(False))


def _as_regex(path: StringMatcher) -> Proto:
    """Paths are compared whole, by prefix or by expression; other comparisons become expressions."""
    if path.kind is MatchKind.REGEX:
        return regex(path.text, path.ignore_case)
    text = re.escape(path.text)
    wrapped = {MatchKind.SUFFIX: f".*{text}", MatchKind.CONTAINS: f".*{text}.*"}
    return regex_pb2.RegexMatcher(regex=("(?i)" if path.ignore_case else "") + wrapped[path.kind])


def _query(item: NamedMatcher) -> Proto:
    if item.invert:
        raise ValueError(f"query parameter {item.name}: Envoy cannot demand that it does not match")
    if item.matcher.kind is MatchKind.PRESENT:
        return route_components_pb2.QueryParameterMatcher(name=item.name, present_match=True)
    return route_components_pb2.QueryParameterMatcher(name=item.name, string_match=string_match(item.matcher))


def _claim(item: ClaimMatcher) -> Proto:
    present = item.matcher.kind is MatchKind.PRESENT
    matcher = StringMatcher(MatchKind.REGEX, ".+") if present else item.matcher
    made = list_or_string(item.path, [string_match(matcher)])
    made.invert = item.invert
    return made

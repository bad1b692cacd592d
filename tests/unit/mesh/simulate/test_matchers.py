"""Envoy's comparisons."""

from __future__ import annotations

from typing import Any

import pytest
from support.envoy_config import message

from mesh.simulate import matchers, tables
from mesh.simulate.request import Connection, Facts, Request

_MATCHER = "envoy.type.matcher.v3."
_ROUTE = "envoy.config.route.v3."


def facts(path: str = "/a/b?color=red", **headers: str) -> Facts:
    """A request with these headers; underscores stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Facts(request=Request(authority="host", path=path, headers=named), connection=Connection())


@pytest.mark.parametrize(
    "matcher, text, matches",
    [
        ({"exact": "abc"}, "abc", True),
        ({"exact": "abc"}, "abcd", False),
        ({"exact": "ABC", "ignore_case": True}, "abc", True),
        ({"prefix": "ab"}, "abc", True),
        ({"suffix": "bc"}, "abc", True),
        ({"contains": "b"}, "abc", True),
        ({"safe_regex": {"regex": "a.c"}}, "abc", True),
        ({"safe_regex": {"regex": "a.c"}}, "xabc", False),
        ({"safe_regex": {"regex": "a\\pN"}}, "a1", None),
    ],
)
def test_strings_are_compared_whole(matcher: dict[str, Any], text: str, matches: bool | None) -> None:
    assert matchers.string(message(_MATCHER + "StringMatcher", matcher), text) is matches


@pytest.mark.parametrize(
    "matcher, value, matches",
    [
        ({"string_match": {"exact": "yes"}}, "yes", True),
        ({"string_match": {"exact": "yes"}}, None, False),
        ({"string_match": {"exact": "yes"}, "invert_match": True}, "no", True),
        # An absent header passes no comparison, not even the opposite of one ...
        ({"string_match": {"exact": "yes"}, "invert_match": True}, None, False),
        # ... unless it is to be treated as empty.
        (
            {"string_match": {"exact": "yes"}, "invert_match": True, "treat_missing_header_as_empty": True},
            None,
            True,
        ),
        ({"present_match": True}, "", True),
        ({"present_match": True}, None, False),
        ({"present_match": False}, None, True),
        ({"present_match": True, "invert_match": True}, None, True),
        ({}, "anything", True),
        ({"range_match": {"start": "1", "end": "5"}}, "4", True),
        ({"range_match": {"start": "1", "end": "5"}}, "5", False),
        ({"range_match": {"start": "1", "end": "5"}}, "four", False),
    ],
)
def test_headers(matcher: dict[str, Any], value: str | None, matches: bool) -> None:
    found = facts() if value is None else facts(x_test=value)
    assert matchers.header(message(_ROUTE + "HeaderMatcher", {"name": "x-test", **matcher}), found) is matches


def test_pseudo_headers_are_headers() -> None:
    matcher = message(_ROUTE + "HeaderMatcher", {"name": ":path", "string_match": {"prefix": "/a"}})
    assert matchers.header(matcher, facts()) is True


def test_the_first_value_of_a_query_parameter_counts() -> None:
    matcher = message(_ROUTE + "QueryParameterMatcher", {"name": "color", "string_match": {"exact": "red"}})
    assert matchers.query(matcher, facts("/?color=red&color=blue")) is True
    assert matchers.query(matcher, facts("/?color=blue&color=red")) is False
    assert matchers.query(matcher, facts("/")) is False


@pytest.mark.parametrize(
    "pattern, path, matches",
    [
        ("/v1/*/items", "/v1/a/items", True),
        ("/v1/*/items", "/v1/a/b/items", False),
        ("/v1/**", "/v1/a/b", True),
        ("/v1/{*}/x", "/v1/a/x", True),
        ("/v1/{name=*}/x", "/v1/a/x", True),
        ("/v1/**/x", "/v1/a/b/y", False),
    ],
)
def test_path_templates(pattern: str, path: str, matches: bool) -> None:
    assert matchers.template(pattern, facts(path)) is matches


def test_metadata_is_looked_up_by_its_path_and_lists_by_their_items() -> None:
    matcher = message(
        _MATCHER + "MetadataMatcher",
        {
            "filter": "jwt",
            "path": [{"key": "payload"}, {"key": "aud"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": "causeway"}}}},
        },
    )
    assert (
        matchers.metadata(matcher, facts().with_metadata("jwt", {"payload": {"aud": ["a", "causeway"]}}))
        is True
    )
    assert matchers.metadata(matcher, facts().with_metadata("jwt", {"payload": {"aud": ["a"]}})) is False
    assert matchers.metadata(matcher, facts()) is False


@pytest.mark.parametrize(
    "match, path, matches",
    [
        ({"prefix": "/a"}, "/a/b", True),
        ({"prefix": "/a/b?color"}, "/a/b?color=red", True),
        ({"path": "/a/b"}, "/a/b?color=red", True),
        ({"path": "/a"}, "/a/b", False),
        ({"path": "/A", "case_sensitive": False}, "/a", True),
        ({"path_separated_prefix": "/a"}, "/a/b", True),
        ({"path_separated_prefix": "/a"}, "/ab", False),
        ({"safe_regex": {"regex": "/a/.*"}}, "/a/b?x", True),
        ({"prefix": "/", "grpc": {}}, "/a", False),
    ],
)
def test_routes_match_by_path(match: dict[str, Any], path: str, matches: bool) -> None:
    assert tables.matches(message(_ROUTE + "RouteMatch", match), facts(path)) is matches


@pytest.mark.parametrize(
    "authority, host",
    [
        ("a.example.com", "exact"),
        ("A.Example.com", "exact"),
        ("b.example.com", "long suffix"),
        ("b.other.com", "short suffix"),
        ("b.other.org", "prefix"),
        ("example.com", "short suffix"),
        ("unknown", "any"),
        ("a.example.com:80", "any"),
    ],
)
def test_the_most_specific_domain_wins(authority: str, host: str) -> None:
    domains = {
        "any": "*",
        "prefix": "b.*",
        "short suffix": "*.com",
        "long suffix": "*.example.com",
        "exact": "a.example.com",
    }
    found = tables.host_for(
        message(
            _ROUTE + "RouteConfiguration",
            {"virtual_hosts": [{"name": name, "domains": [domain]} for name, domain in domains.items()]},
        ),
        authority,
    )
    assert found is not None
    assert found.host.name == host


def test_a_port_is_part_of_the_domain_unless_it_is_ignored() -> None:
    plain: dict[str, Any] = {"virtual_hosts": [{"name": "exact", "domains": ["a.example.com"]}]}
    kind = _ROUTE + "RouteConfiguration"
    assert tables.host_for(message(kind, plain), "a.example.com:80") is None
    assert tables.host_for(message(kind, {**plain, "ignore_port_in_host_matching": True}), "a.example.com:80")

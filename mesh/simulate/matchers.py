"""Envoy's comparisons: strings, headers, query parameters, metadata, addresses and shares.

Regular expressions are Envoy's RE2 and run here under Python's `re`, whole string as there. RE2 knows neither
look-around nor backreferences and refuses them when it loads; here they would be taken. `\\pN` classes, `\\C`
and `(?U)` are RE2's alone: an expression that `re` cannot compile counts as not known.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from mesh.simulate.logic import Truth, every, flip, some
from mesh.simulate.messages import Proto, struct_value, which
from mesh.simulate.request import Facts, Unknown

DENOMINATORS = {0: 100, 1: 10_000, 2: 1_000_000}
"""https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/v3/percent.proto"""


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None


def regex(pattern: str, text: str) -> Truth:
    """Whether the whole text matches; None when Python cannot read the expression."""
    compiled = _compiled(pattern)
    return None if compiled is None else compiled.fullmatch(text) is not None


def string(matcher: Proto, text: str) -> Truth:
    """envoy.type.matcher.v3.StringMatcher."""
    kind = which(matcher, "match_pattern")
    if kind == "safe_regex":
        return regex(matcher.safe_regex.regex, text)
    if kind not in ("exact", "prefix", "suffix", "contains"):
        return None
    wanted = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, text = wanted.lower(), text.lower()
    return compare(kind, wanted, text)


def compare(kind: str, wanted: str, text: str) -> bool:
    """The comparisons that `exact`, `prefix`, `suffix` and `contains` name."""
    if kind == "exact":
        return text == wanted
    if kind == "prefix":
        return text.startswith(wanted)
    return text.endswith(wanted) if kind == "suffix" else wanted in text


def header(matcher: Proto, facts: Facts) -> Truth:
    """envoy.config.route.v3.HeaderMatcher.

    An absent header passes no comparison, inverted or not, unless it is to be treated as empty; only a test
    for presence sees that it is absent.
    """
    value = facts.header(matcher.name)
    if isinstance(value, Unknown):
        return None
    kind = which(matcher, "header_match_specifier")
    if kind in ("", "present_match"):
        present = matcher.present_match if kind else True
        found = value is not None or matcher.treat_missing_header_as_empty
        return bool(found == present) != bool(matcher.invert_match)
    if value is None:
        if not matcher.treat_missing_header_as_empty:
            return False
        value = ""
    return flip(_header_value(matcher, kind, value), matcher.invert_match)


def _header_value(matcher: Proto, kind: str, value: str) -> Truth:
    if kind == "string_match":
        return string(matcher.string_match, value)
    if kind == "safe_regex_match":
        return regex(matcher.safe_regex_match.regex, value)
    if kind == "range_match":
        try:
            number = int(value)
        except ValueError:
            return False
        return bool(matcher.range_match.start <= number < matcher.range_match.end)
    return compare(kind.removesuffix("_match"), getattr(matcher, kind), value)


def query(matcher: Proto, facts: Facts) -> Truth:
    """envoy.config.route.v3.QueryParameterMatcher."""
    if facts.request is None or facts.request.open:
        return None
    value = facts.request.query.get(matcher.name)
    kind = which(matcher, "query_parameter_match_specifier")
    if kind == "string_match":
        return False if value is None else string(matcher.string_match, value)
    wanted = matcher.present_match if kind == "present_match" else True
    return bool((value is not None) == wanted)


def path(matcher: Proto, facts: Facts) -> Truth:
    """envoy.type.matcher.v3.PathMatcher: the path without its query."""
    if facts.request is None:
        return False
    if facts.request.open:
        return None
    return string(matcher.path, facts.request.bare_path)


def template(pattern: str, facts: Facts) -> Truth:
    """A URI template: `{*}` or `*` is one segment, `{**}` or `**` any number, `{name=…}` names one of them.

    https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/path/match/uri_template/v3/uri_template_match.proto
    """
    if facts.request is None:
        return False
    if facts.request.open:
        return None
    return regex(_template(pattern), facts.request.bare_path)


@functools.lru_cache(maxsize=256)
def _template(pattern: str) -> str:
    parts: list[str] = []
    for piece in re.split(r"(\{[^}]*\}|\*\*|\*)", pattern):
        if piece.startswith("{"):
            inner = piece[1:-1].partition("=")[2] or (piece[1:-1] if piece[1:-1] in ("*", "**") else "*")
            parts.append(_template(inner))
        elif piece in ("*", "**"):
            parts.append("[^/]+" if piece == "*" else ".*")
        else:
            parts.append(re.escape(piece))
    return "".join(parts)


def cidr(network: Proto, address: str) -> Truth:
    """envoy.config.core.v3.CidrRange."""
    length = network.prefix_len.value if network.HasField("prefix_len") else 0
    return within(f"{network.address_prefix}/{length}", address)


def within(network: str, address: str) -> bool:
    """Whether an IP address is in a network; a host name is in none."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def metadata(matcher: Proto, facts: Facts) -> Truth:
    """envoy.type.matcher.v3.MetadataMatcher, over dynamic metadata."""
    if matcher.filter in facts.unknown_metadata or (facts.request is not None and facts.request.open):
        return None
    found: object = facts.metadata.get(matcher.filter)
    for segment in matcher.path:
        found = found.get(segment.key) if isinstance(found, dict) else None
    return flip(value(matcher.value, found), matcher.invert)


def value(matcher: Proto, found: object) -> Truth:
    """envoy.type.matcher.v3.ValueMatcher."""
    kind = which(matcher, "match_pattern")
    if kind == "null_match":
        return found is None
    if kind == "present_match":
        return (found is not None) == bool(matcher.present_match)
    if kind == "string_match":
        return string(matcher.string_match, found) if isinstance(found, str) else False
    if kind == "bool_match":
        return isinstance(found, bool) and found == matcher.bool_match
    if kind == "list_match":
        if not isinstance(found, list):
            return False
        return some(value(matcher.list_match.one_of, item) for item in found)
    if kind == "or_match":
        return some(value(inner, found) for inner in matcher.or_match.value_matchers)
    if kind == "double_match":
        return _double(matcher.double_match, found)
    return None


def _double(matcher: Proto, found: object) -> bool:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    if which(matcher, "match_pattern") == "range":
        return bool(matcher.range.start <= found < matcher.range.end)
    return bool(found == matcher.exact)


def struct_contains(wanted: Proto, found: object) -> bool:
    """Whether every field of a Struct is in `found` with the same value (transport socket matches)."""
    fields = struct_value(wanted)
    if not isinstance(fields, dict) or not fields:
        return True
    return isinstance(found, dict) and all(found.get(key) == inner for key, inner in fields.items())


def share(percentage: Proto) -> float:
    """envoy.type.v3.FractionalPercent as a number from 0 to 1."""
    return min(1.0, float(percentage.numerator) / DENOMINATORS.get(percentage.denominator, 100))


def runtime_share(fraction: Proto) -> float:
    """envoy.config.core.v3.RuntimeFractionalPercent: its default, since nothing sets the runtime key."""
    return share(fraction.default_value)


def falls(chance: float, random: float | None) -> bool:
    """Whether something of that probability happens: by the number that was drawn, else what is likelier."""
    return chance >= 0.5 if random is None else random < chance


def headers(matchers: Proto, facts: Facts) -> Truth:
    """All of several header matchers."""
    return every(header(matcher, facts) for matcher in matchers)


def describe(matcher: Proto) -> str:
    """A string matcher as Istio writes it."""
    kind = which(matcher, "match_pattern")
    if kind == "safe_regex":
        return "*" if matcher.safe_regex.regex == ".+" else f"~{matcher.safe_regex.regex}"
    text = str(getattr(matcher, kind)) if kind in ("exact", "prefix", "suffix", "contains") else "?"
    return {"prefix": f"{text}*", "suffix": f"*{text}", "contains": f"*{text}*"}.get(kind, text)

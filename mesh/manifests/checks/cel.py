"""CEL expressions that are labels of metrics: whether Envoy takes them, and whether a label can bear them.

A recogniser of CEL's grammar (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax). What it
knows beside the grammar is what an Envoy as it is built does not do: it has no conversion to string, no
concatenation, no macros over lists, and knows its own attributes alone
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes).

A value that has no bounds, such as a path, cannot be a label, since each value is a time series of its own
that Envoy keeps for ever; compared with something, or tested for how it begins, it can.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from mesh.manifests.message import shown

_WORD = re.compile(
    r"""\s*(?:
    (?P<text>[rRbB]{0,2}(?:\"(?:\\.|[^"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
    | (?P<number>0x[0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])
    )""",
    re.VERBOSE,
)
_ATTRIBUTES = frozenset(
    (
        "request",
        "response",
        "connection",
        "upstream",
        "source",
        "destination",
        "metadata",
        "filter_state",
        "upstream_filter_state",
        "xds",
    )
)
_FUNCTIONS = frozenset(("has", "size", "int", "uint", "double", "bytes", "duration", "timestamp", "matches"))
_TESTS = frozenset(("startsWith", "endsWith", "contains", "matches"))
_METHODS = _TESTS | {"size"}
_ISTIOS = {
    "node": "write xds.node",
    "upstream_peer": "Envoy knows of a peer what upstream and xds.upstream_host_metadata say",
    "downstream_peer": "Envoy knows of a peer what connection says",
}
_COMPARE = frozenset(("<", "<=", ">", ">=", "==", "!=", "in"))
_UNBOUNDED = frozenset(
    f"{root}.{name}"
    for root, names in {
        "request": "path url_path query referer id time duration size total_size",
        "request.headers": ":path x-envoy-original-path x-request-id traceparent tracestate authorization "
        "cookie referer",
        "response": "size total_size backend_latency",
        "connection": "id",
        "source": "address port",
        "upstream": "local_address",
    }.items()
    for name in names.split()
)
"""What is another value with nearly every request."""


def label_problem(expression: str) -> str | None:
    """What is wrong with an expression as the value of a label."""
    if ")%" in expression:
        return "must not have `)%` in it: there Envoy takes it to end"
    try:
        open_ended = _Parser(unwrapped(expression)).whole()
    except _RefusedError as problem:
        return str(problem)
    except RecursionError:
        return "nests too deeply"
    if open_ended:
        return (
            f"`{shown(open_ended)}` has no bounds, and every value of a label is a time series that Envoy "
            "keeps: compare it with something, or use startsWith, endsWith, contains or matches"
        )
    return None


def unwrapped(expression: str) -> str:
    """Without a `string(…)` around all of it, as Istio's examples have one: Envoy, which cannot convert,
    writes values of any type as text. Without ends of lines, too."""
    text = " ".join(expression.split("\n")).strip()
    found = re.fullmatch(r"string\s*\((.*)\)", text)
    if found is None:
        return text
    depth = 0
    for word in _words(found[1]):
        depth += (word == "(") - (word == ")")
        if depth < 0:
            return text
    return found[1].strip()


class _RefusedError(Exception):
    """What is wrong."""


def _words(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        word = _WORD.match(text, at)
        if word is None:
            raise _RefusedError(f"is not CEL: `{shown(text[at:].strip())}` is not understood")
        found.append(word[0].strip())
        at = word.end()
    return found


class _Parser:
    """Recursive descent. Each method gives the attribute without bounds that its value may be, or nothing."""

    def __init__(self, text: str) -> None:
        self._words = _words(text)
        self._at = 0

    def whole(self) -> str:
        """Of the expression."""
        found = self._expression()
        if self._next:
            self._refuse()
        return found

    @property
    def _next(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _take(self, *wanted: str) -> str:
        if not self._next or (wanted and self._next not in wanted):
            self._refuse()
        self._at += 1
        return self._words[self._at - 1]

    def _refuse(self) -> NoReturn:
        where = f"at `{shown(self._next)}`" if self._next else "at its end"
        raise _RefusedError(f"is not CEL: it is wrong {where}")

    def _expression(self) -> str:
        found = self._any()
        if self._next != "?":
            return found
        self._take("?")
        yes = self._any()
        self._take(":")
        no = self._expression()
        return yes or no

    def _any(self) -> str:
        return self._joined(lambda: self._joined(self._relation, "&&"), "||")

    def _joined(self, part: Callable[[], str], sign: str) -> str:
        found = part()
        while self._next == sign:
            self._take()
            part()
            found = ""
        return found

    def _relation(self) -> str:
        found = self._sum()
        while self._next in _COMPARE:
            self._take()
            self._sum()
            found = ""
        return found

    def _sum(self) -> str:
        found = self._unary()
        while self._next in ("+", "-", "*", "/", "%"):
            if self._next == "+":
                raise _RefusedError("must not have a `+`: Envoy is built without joining strings")
            self._take()
            found = self._unary() or found
        return found

    def _unary(self) -> str:
        while self._next in ("!", "-"):
            self._take()
        return self._member()

    def _member(self) -> str:
        path, found = self._primary()
        while self._next in (".", "["):
            if self._take() == "[":
                name = self._key()
            else:
                name = self._name()
                if self._next == "(":
                    path, found = "", self._method(path, name, found)
                    continue
            path = f"{path}.{name}" if path and name else ""
            found = path if path in _UNBOUNDED else found
        return found

    def _key(self) -> str:
        """What is asked for in brackets, if it is plain text: what a map may give is what it holds."""
        word = self._next
        self._expression()
        self._take("]")
        text = word.lstrip("rRbB")
        return text[1:-1].lower() if text[:1] in ("'", '"') else ""

    def _method(self, path: str, name: str, found: str) -> str:
        if path == "re":
            if name != "extract":
                raise _RefusedError(f"has re.{name}, which Envoy does not know")
            return self._arguments()
        if name not in _METHODS:
            raise _RefusedError(f"has .{shown(name)}(), which Envoy does not know")
        self._arguments()
        return "" if name in _TESTS else found

    def _primary(self) -> tuple[str, str]:
        """With its name, if it is one."""
        word = self._next
        if word == "(":
            self._take()
            found = self._expression()
            self._take(")")
            return "", found
        if word == "[":
            return "", self._items("[", "]", self._expression)
        if word == "{":
            return "", self._items("{", "}", self._pair)
        if word[:1].isdigit() or word[-1:] in ("'", '"'):
            self._take()
            return "", ""
        name = self._name()
        if self._next == "(":
            if name == "string":
                raise _RefusedError(
                    "has a string() inside: Envoy converts nothing, but writes any type as text"
                )
            if name not in _FUNCTIONS:
                raise _RefusedError(f"has {shown(name)}(), which Envoy does not know")
            found = self._arguments()
            return "", "" if name in ("has", "matches") else found
        if name in _ISTIOS:
            raise _RefusedError(f"has {name}, an attribute of Istio's build of Envoy: {_ISTIOS[name]}")
        if name not in _ATTRIBUTES | {"true", "false", "null", "re"}:
            raise _RefusedError(
                f"has {shown(name)}, which is none of Envoy's attributes ({', '.join(sorted(_ATTRIBUTES))})"
            )
        return name, ""

    def _pair(self) -> str:
        self._expression()
        self._take(":")
        return self._expression()

    def _arguments(self) -> str:
        return self._items("(", ")", self._expression)

    def _items(self, first: str, last: str, one: Callable[[], str]) -> str:
        self._take(first)
        found = ""
        while self._next != last:
            found = one() or found
            if self._next != last:
                self._take(",")
        self._take(last)
        return found

    def _name(self) -> str:
        word = self._take()
        if not word.isidentifier():
            self._at -= 1
            self._refuse()
        return word

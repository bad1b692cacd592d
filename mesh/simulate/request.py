"""What is sent: a request, the connection it comes on, and what is known about both."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from mesh.simulate.messages import Proto


class Unknown(enum.Enum):
    """Says that a simulation does not know a value."""

    VALUE = "unknown"


UNKNOWN = Unknown.VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A JSON web token, as far as a proxy looks at it."""

    issuer: str
    subject: str = "someone"
    audiences: tuple[str, ...] = ()
    claims: Mapping[str, object] = field(default_factory=dict)
    """Beside iss, sub and aud."""
    genuine: bool = True
    """Signed with the issuer's key and not expired. A simulation has no keys: it believes this."""
    header: str = "authorization"
    """Where it is carried."""

    def payload(self) -> dict[str, object]:
        """Its claims."""
        audiences: object = list(self.audiences) if len(self.audiences) != 1 else self.audiences[0]
        named: dict[str, object] = {"iss": self.issuer, "sub": self.subject}
        return {**named, **({"aud": audiences} if self.audiences else {}), **self.claims}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request."""

    authority: str
    path: str = "/"
    """With its query."""
    method: str = "GET"
    scheme: str = "http"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; the pseudo-headers are not among them."""
    token: Token | None = None
    open: bool = False
    """Nothing is known about it beside who sends it: whatever asks for its path or headers gets no answer."""

    @property
    def is_grpc(self) -> bool:
        """Whether it is a gRPC call, so that a refusal is a gRPC status."""
        kind = self.headers.get("content-type", "")
        return kind == "application/grpc" or kind.startswith("application/grpc+")

    @property
    def bare_path(self) -> str:
        """Without the query and fragment."""
        return self.path.partition("#")[0].partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The first value of each parameter, as Envoy takes it."""
        found: dict[str, str] = {}
        for key, value in parse_qsl(self.path.partition("?")[2], keep_blank_values=True):
            found.setdefault(key, value)
        return found

    def header(self, name: str) -> str | Unknown | None:
        """The value of a header or pseudo-header; None when it is absent."""
        if self.open:
            return UNKNOWN
        name = name.lower()
        if name in (":authority", "host"):
            return self.authority
        if name in (":path", ":method", ":scheme"):
            return str(getattr(self, name[1:]))
        if name in self.headers:
            return self.headers[name]
        if self.token is not None and name == self.token.header:
            return "Bearer a-token"
        return None

    def with_header(self, name: str, value: str, *, append: bool = False) -> Request:
        """A copy with a header set, or one more value appended."""
        name = name.lower()
        if name in (":authority", "host"):
            return replace(self, authority=value)
        if name == ":path":
            return replace(self, path=value)
        if name == ":method":
            return replace(self, method=value)
        if name == ":scheme":
            return replace(self, scheme=value)
        before = self.headers.get(name)
        value = f"{before},{value}" if append and before is not None else value
        return replace(self, headers={**self.headers, name: value})

    def without_header(self, name: str) -> Request:
        """A copy without a header."""
        kept = {key: value for key, value in self.headers.items() if key != name.lower()}
        token = None if self.token is not None and self.token.header == name.lower() else self.token
        return replace(self, headers=kept, token=token)


def grpc_call(
    authority: str, method: str, headers: Mapping[str, str] | None = None, token: Token | None = None
) -> Request:
    """A gRPC call; `method` is `/package.Service/Method`."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    return Request(
        authority=authority,
        path=method,
        method="POST",
        headers={"content-type": "application/grpc", "te": "trailers", **given},
        token=token,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a client brings to a TLS handshake."""

    sni: str = ""
    protocols: tuple[str, ...] = ("h2",)
    """ALPN, most wanted first."""
    identity: str = ""
    """SPIFFE ID (or another name) of its certificate; empty when it has none."""
    context: Proto | None = None
    """Its UpstreamTlsContext, when it is a proxy; a client without one trusts any server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection as the one who accepts it sees it."""

    source: str = "127.0.0.1"
    address: str = "127.0.0.1"
    """That was dialled."""
    port: int = 0
    tls: Offer | None = None
    """None: plaintext."""
    principal: str = ""
    """The client's identity once the handshake has proved it."""
    secured: bool = False
    """The handshake took place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a proxy's conditions can look at."""

    request: Request | None
    """None: a connection that carries no HTTP, or is not yet read."""
    connection: Connection
    metadata: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Dynamic metadata, by the filter that wrote it."""
    unknown_metadata: frozenset[str] = frozenset()
    """Filters whose metadata a simulation cannot know."""
    remote: str = ""
    """The client's address as trusted hops tell it; empty: the connection's source."""

    def header(self, name: str) -> str | Unknown | None:
        """A header's value; None when it is absent, or there is no request."""
        return None if self.request is None else self.request.header(name)

    def with_metadata(self, name: str, values: Mapping[str, object]) -> Facts:
        """A copy to which a filter has added."""
        merged = {**self.metadata.get(name, {}), **values}
        return replace(self, metadata={**self.metadata, name: merged})

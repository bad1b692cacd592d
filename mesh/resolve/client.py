"""What of a proxy decides its outbound configuration: proxies that agree in it share what is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.ir.values import Locality
from mesh.ir.view import Proxy, ProxyKind


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls, as far as any rule asks."""

    namespace: str
    kind: ProxyKind
    locality: Locality
    pairs: tuple[tuple[str, str], ...]
    """Those of its labels that some rule asks for, in order."""

    @property
    def anywhere(self) -> Client:
        """The same without a place: routes do not depend on it."""
        return Client(self.namespace, self.kind, Locality(), self.pairs)

    @property
    def labels(self) -> Mapping[str, str]:
        """The same as a mapping."""
        return dict(self.pairs)


def client(proxy: Proxy, labels: Mapping[str, str], asked: Iterable[str]) -> Client:
    """`labels` are the proxy's with those of its locality."""
    return Client(
        namespace=proxy.namespace,
        kind=proxy.kind,
        locality=proxy.locality,
        pairs=tuple((key, labels[key]) for key in sorted(asked) if key in labels),
    )

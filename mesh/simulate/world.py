"""All proxies of a mesh, and who listens where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.ir.view import Proxy, ProxyKind
from mesh.simulate import chains
from mesh.xds.resources import LISTENER, Resources


class NoSuchProxyError(LookupError):
    """A proxy, a service or a port was named that the mesh does not have; the message lists what there is."""


@dataclass(frozen=True, slots=True)
class Node:
    """A proxy and what it was given."""

    proxy: Proxy
    resources: Resources

    @property
    def name(self) -> str:
        """`namespace/name`."""
        return f"{self.proxy.namespace}/{self.proxy.name}"

    @property
    def region(self) -> str:
        """Where it runs."""
        return self.proxy.locality.region

    @property
    def app(self) -> str:
        """What it stands for: its label `app`, else its service account."""
        return self.proxy.labels.get("app") or self.proxy.service_account

    @property
    def is_gateway(self) -> bool:
        """Whether no application is behind it."""
        return self.proxy.kind is ProxyKind.GATEWAY


@dataclass(frozen=True, slots=True)
class World:
    """A mesh."""

    nodes: Mapping[str, Node]
    """By `namespace/name`."""

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> World:
        """Ordered by name, so that equal meshes are equal."""
        return cls({node.name: node for node in sorted(nodes, key=lambda item: item.name)})

    def listening(self, address: str, port: int) -> Node | None:
        """The proxy that accepts connections there."""
        for node in self.nodes.values():
            listeners = node.resources.of(LISTENER)
            for name in listeners:
                for bound, at in chains.addresses(listeners[name]):
                    mine = bound == address or (bound in chains.ANY and node.proxy.address == address)
                    if at == port and mine:
                        return node
        return None

    def find(self, app: str, region: str = "") -> Node:
        """The proxy of an application, by its app label, its own name or `namespace/name`.

        Raises NoSuchProxyError when there is none, or several in different regions and none was named.
        """
        named = [node for node in self.nodes.values() if app in (node.name, node.proxy.name)]
        found = named or [node for node in self.nodes.values() if node.app == app]
        if region:
            found = [node for node in found if node.region == region]
        if not found:
            where = f" in {region}" if region else ""
            raise NoSuchProxyError(f"there is no proxy of {app}{where}; there are {', '.join(self.names())}")
        if len({node.region for node in found}) > 1:
            regions = ", ".join(sorted({node.region for node in found}))
            raise NoSuchProxyError(f"{app} runs in {regions}: say which with --region")
        return found[0]

    def names(self) -> list[str]:
        """Applications, with their regions."""
        return [
            f"{app} ({region})" if region else app
            for app, region in sorted({(node.app, node.region) for node in self.nodes.values()})
        ]

    def addresses(self, app: str, region: str = "") -> frozenset[str]:
        """Where the proxies of an application are; of a whole region when `app` is empty or `*`."""
        found = frozenset(
            node.proxy.address
            for node in self.nodes.values()
            if (app in ("", "*") or app in (node.app, node.proxy.name))
            and (not region or node.region == region)
        )
        if not found:
            raise NoSuchProxyError(f"nothing runs at {region}/{app}; there are {', '.join(self.names())}")
        return found

"""What translation hands over: the xDS resources of one proxy, and where each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf.message import Message

from mesh.ir.origin import Origin

_PREFIX = "type.googleapis.com/"

CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
EXTENSION = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

ORDER = (CLUSTER, ENDPOINTS, LISTENER, ROUTES, EXTENSION, SECRET)
"""The order in which changes go out, so that nothing points at what is not there yet: clusters, their
endpoints, listeners, their routes
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations).
Secrets depend on nothing and are sent beside the others."""

SHORT = MappingProxyType(
    {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS", EXTENSION: "ECDS", SECRET: "SDS"}
)
"""What people call the types."""

Path = tuple[str, ...]
"""A type URL, a resource's name, and names inside the resource (virtual host, route), outermost first."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The configuration of one proxy as xDS messages. Nobody changes a message after it is handed over.

    A translator that returns the same message object for the same input saves the snapshot the work of
    packing and hashing it again.
    """

    by_type: Mapping[str, Mapping[str, Message]] = field(default_factory=dict)
    """Type URL to name to message. A message's own name equals its key."""
    origins: Mapping[Path, Origin] = field(default_factory=dict)
    """What decided a resource, or a part of one. It stands beside the messages: a line number that moves must
    not make a new version."""

    def of(self, type_url: str) -> Mapping[str, Message]:
        """The resources of one type, by name."""
        return self.by_type.get(type_url, {})

    def origin(self, *path: str) -> Origin | None:
        """What decided the part at `path`, else what decided the nearest part around it."""
        for length in range(len(path), 0, -1):
            if (found := self.origins.get(path[:length])) is not None:
                return found
        return None

    def with_type(self, type_url: str, messages: Mapping[str, Message]) -> Resources:
        """A copy in which the resources of one type are replaced."""
        return Resources({**self.by_type, type_url: messages}, self.origins)

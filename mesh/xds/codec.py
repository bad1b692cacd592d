"""Envoy's discovery messages ↔ our own words, for both protocols."""

from __future__ import annotations

from typing import Any, Protocol

from mesh.xds.protos import base_pb2, discovery_pb2
from mesh.xds.snapshot import Snapshot
from mesh.xds.sotw import SotwSubscription, state_version
from mesh.xds.subscription import DeltaSubscription, Request, Response


class Codec(Protocol):
    """One of the two protocols."""

    @property
    def name(self) -> str:
        """delta or sotw."""

    def subscription(self, type_url: str) -> DeltaSubscription | SotwSubscription:
        """The state of one type on a new stream."""

    def decode(self, message: Any) -> Request:
        """A client's message in our words."""

    def encode(self, response: Response, snapshot: Snapshot) -> Any:
        """A response with its resources; `snapshot` is the one it was computed from."""


class DeltaCodec:
    """Delta: Envoy."""

    name = "delta"

    def subscription(self, type_url: str) -> DeltaSubscription:
        """The state of one type on a new stream."""
        return DeltaSubscription(type_url)

    def decode(self, message: Any) -> Request:
        """A DeltaDiscoveryRequest in our words."""
        return Request(
            type_url=message.type_url,
            subscribe=tuple(message.resource_names_subscribe),
            unsubscribe=tuple(message.resource_names_unsubscribe),
            initial_versions=dict(message.initial_resource_versions),
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
        )

    def encode(self, response: Response, snapshot: Snapshot) -> Any:
        """A DeltaDiscoveryResponse."""
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=response.type_url,
            nonce=response.nonce,
            system_version_info=snapshot.version,
            resources=[snapshot.get(response.type_url, name).sent for name in response.resources],
            removed_resources=response.removed,
        )


class SotwCodec:
    """State of the world: grpcio."""

    name = "sotw"

    def __init__(self, identifier: str) -> None:
        self._control_plane = base_pb2.ControlPlane(identifier=identifier)

    def subscription(self, type_url: str) -> SotwSubscription:
        """The state of one type on a new stream."""
        return SotwSubscription(type_url)

    def decode(self, message: Any) -> Request:
        """A DiscoveryRequest in our words."""
        return Request(
            type_url=message.type_url,
            subscribe=tuple(message.resource_names),
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
        )

    def encode(self, response: Response, snapshot: Snapshot) -> Any:
        """A DiscoveryResponse."""
        return discovery_pb2.DiscoveryResponse(
            type_url=response.type_url,
            nonce=response.nonce,
            version_info=state_version(response.resources),
            resources=[snapshot.get(response.type_url, name).sent.resource for name in response.resources],
            control_plane=self._control_plane,
        )

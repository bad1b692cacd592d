"""What sidecars share that differ in nothing but their addresses and, beside them, their names."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.ir.security import Security
from mesh.ir.telemetry import Telemetry
from mesh.resolve.inbound import Served
from mesh.resolve.outbound import Called
from mesh.resolve.scope import Scope


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Kin:
    """Made once for all workloads of a service that have the same labels and ports; lives as long as the
    configuration."""

    scope: Scope
    called: tuple[Called, ...]
    served: tuple[Served, ...]
    security: Security | None
    as_client: Telemetry
    """Of listeners for what the application calls."""
    as_server: Telemetry
    """Of listeners for what calls the application."""

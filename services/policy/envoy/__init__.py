"""Envoy's own gRPC interfaces, served by the policy service: ext_authz and the rate limit service.

Importing this package makes Envoy's API importable for the modules in it.
"""

from __future__ import annotations

from services.common.envoy_api import extend_path

extend_path()

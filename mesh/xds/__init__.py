"""xDS: what is sent to proxies, when, and to whom.

Importing this package makes Envoy's API importable for the modules in it.
"""

from __future__ import annotations

from services.common.envoy_api import extend_path

extend_path()

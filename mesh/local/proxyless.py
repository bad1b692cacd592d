"""How a gRPC client becomes its own proxy: the bootstrap of gRPC's xDS client. Pure.

Sources: https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md (bootstrap),
A29 (certificate providers), A65 (mutual TLS to the control plane), A71 (several control planes, in order).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mesh.local.workloads import Workload
from mesh.pki.bootstrap import IdentityFiles

FILE = "grpc.json"
REFRESH = "10s"
"""How often gRPC looks for a rotated certificate."""


def bootstrap(workload: Workload, control_planes: Sequence[str], folder: Path) -> dict[str, object]:
    """The document that GRPC_XDS_BOOTSTRAP names; the identity lies in `folder` (`mesh.pki.bootstrap`)."""
    files = IdentityFiles(folder)
    certificates = {
        "certificate_file": str(files.certificate),
        "private_key_file": str(files.key),
        "ca_certificate_file": str(files.trust),
        "refresh_interval": REFRESH,
    }
    servers = [
        {
            "server_uri": target,
            "channel_creds": [{"type": "tls", "config": certificates}],
            "server_features": ["xds_v3"],
        }
        for target in control_planes
    ]
    return {
        "xds_servers": servers,
        "node": {
            "id": workload.client_node_id,
            "cluster": f"{workload.app}.{workload.namespace}",
            "locality": {"region": workload.region, "zone": workload.zone},
            "metadata": {"GENERATOR": "grpc"},
        },
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": certificates}},
    }

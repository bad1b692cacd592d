"""Gives every workload a loopback address of its own, as a pod has one in a cluster.

Linux answers on all of 127.0.0.0/8 without being told to. A platform takes one /24 of it, chosen so that two
platforms on a machine do not meet, and keeps it across restarts. The ports are those of a cluster: on an
address of its own every workload can have the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.local.files import write_json
from mesh.local.ports import is_free

EGRESS = 8080
"""Where a sidecar takes its application's calls to gRPC services."""
EGRESS_TRITON = 8001
"""The same for Triton, whose service has the port that Triton itself is known for."""
INBOUND = 9443
"""Where a sidecar takes calls for its application, over mutual TLS."""
HTTPS = 8443
"""Where an ingress and the front take calls from outside (port 443 of their Gateways)."""
HTTPS_MESH = 8444
"""Where an ingress takes calls from load balancers that are members of the mesh (port 8443 of its
Gateway)."""
ADMIN = 15000
"""Envoy's own interface."""
XDS = 15012
"""Where a control plane serves configuration, over mutual TLS."""

PORTS = (EGRESS, EGRESS_TRITON, INBOUND, HTTPS, HTTPS_MESH, ADMIN, XDS)

_FIRST = 2
_NETWORKS = range(64, 127)
"""Second octets: away from 127.0.0.1 and from the resolver at 127.0.0.53."""


class AddressError(OSError):
    """No network of loopback addresses is free."""


@dataclass(frozen=True, slots=True)
class Network:
    """The loopback addresses of one platform."""

    prefix: str
    """The first three octets, `127.66.12`."""
    hosts: Mapping[str, int]
    """Last octet by workload: `gateway@us-west-2`, `ingress@us-west-2`, `control@us-west-2`, `front`."""

    def address(self, workload: str) -> str:
        """Where a workload is reached. Raises KeyError when it has no address."""
        return f"{self.prefix}.{self.hosts[workload]}"


def choose(
    workloads: Iterable[str],
    recorded: Network | None,
    *,
    rng: random.Random | None = None,
    wanted: Sequence[int] = PORTS,
) -> Network:
    """Addresses for `workloads` on which every `wanted` port is free: the recorded ones, else new ones.

    Raises AddressError when every network that was tried is in use; another program listening on all
    addresses at one of our ports looks like that.
    """
    rng = rng or random.Random()  # noqa: S311 - an address is no secret
    names = list(workloads)
    hosts = _number(names, recorded.hosts if recorded else {})
    if recorded and _usable(recorded.prefix, hosts.values(), wanted):
        return Network(recorded.prefix, hosts)
    prefix = ""
    for _ in range(40):
        prefix = f"127.{rng.choice(_NETWORKS)}.{rng.randrange(1, 255)}"
        if _usable(prefix, hosts.values(), wanted):
            return Network(prefix, hosts)
    taken = [str(port) for port in wanted if not is_free(port, f"{prefix}.{_FIRST}")]
    where = f"port {', '.join(taken)}" if taken else "one of the ports"
    raise AddressError(f"{where} is taken on every loopback address by another program")


def load(path: Path) -> Network | None:
    """The recorded network; None when there is none or the file is damaged (it is then chosen anew)."""
    try:
        document = json.loads(path.read_text("utf-8"))
        prefix, hosts = document["network"], document["hosts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    parts = prefix.split(".") if isinstance(prefix, str) else []
    if len(parts) != 3 or parts[0] != "127" or not all(part.isdecimal() for part in parts):
        return None
    if not isinstance(hosts, dict):
        return None
    good = {k: v for k, v in hosts.items() if type(v) is int and _FIRST <= v < 255}
    return Network(prefix, good) if len(set(good.values())) == len(good) else None


def save(path: Path, network: Network) -> None:
    """Record `network` for the next start, and for clients on this machine."""
    write_json(path, {"network": network.prefix, "hosts": dict(network.hosts)}, mode=0o644)


def _number(names: Iterable[str], recorded: Mapping[str, int]) -> dict[str, int]:
    """Old numbers stay, so that a region that is added moves nobody."""
    free = iter(number for number in range(_FIRST, 255) if number not in recorded.values())
    return {name: recorded[name] if name in recorded else next(free) for name in names}


def _usable(prefix: str, numbers: Iterable[int], wanted: Sequence[int]) -> bool:
    return all(is_free(port, f"{prefix}.{number}") for number in numbers for port in wanted)

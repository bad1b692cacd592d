"""The hosts of a cluster: which of them a request may get, before and after their trouble is noticed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mesh.simulate import balance
from mesh.simulate.balance import Level, Loads
from mesh.simulate.messages import Proto, struct_value, which, wrapped
from mesh.xds.resources import ENDPOINTS, Resources

SOCKET_MATCH = "envoy.transport_socket_match"
"""Metadata by which an endpoint chooses among a cluster's transport sockets."""

_ILL = ("UNHEALTHY", "DRAINING", "TIMEOUT")
_STATUSES = ("UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One host of a cluster."""

    address: str
    port: int
    region: str = ""
    locality: str = ""
    """`region/zone/subzone`."""
    priority: int = 0
    weight: int = 1
    group_weight: int | None = None
    """Of its locality."""
    status: str = "UNKNOWN"
    """As the control plane tells it."""
    labels: Mapping[str, object] = field(default_factory=dict)
    """Its metadata for the choice of a transport socket."""
    down: bool = False
    """It does not answer."""
    ejected: bool = False
    """The proxy has noticed."""

    @property
    def where(self) -> str:
        """`address:port`."""
        return f"{self.address}:{self.port}" if self.port else self.address

    @property
    def healthy(self) -> bool:
        """Whether the proxy counts on it."""
        return not self.ejected and self.status not in (*_ILL, "DEGRADED")

    @property
    def degraded(self) -> bool:
        """Whether it is used only for what the healthy ones cannot take."""
        return not self.ejected and self.status == "DEGRADED"


@dataclass(frozen=True, slots=True)
class Share:
    """An endpoint and the part of the traffic that it gets."""

    endpoint: Endpoint
    share: float


@dataclass(frozen=True, slots=True)
class Choice:
    """How a proxy would spread requests at one moment."""

    loads: Loads
    shares: tuple[Share, ...]
    """Those that get any, the larger first; empty when no host can be chosen."""

    def pick(self, random: float | None, avoid: Collection[str] = ()) -> Endpoint | None:
        """One of them: by the number that was drawn, else the one with the largest share.

        Those in `avoid` (already tried) are taken only when there is no other.
        """
        rest = [item for item in self.shares if item.endpoint.where not in avoid] or list(self.shares)
        if not rest:
            return None
        if random is None:
            return rest[0].endpoint
        left = random * sum(item.share for item in rest)
        for item in rest:
            left -= item.share
            if left < 0:
                return item.endpoint
        return rest[-1].endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A cluster with its hosts."""

    cluster: Proto
    endpoints: tuple[Endpoint, ...]
    overprovisioning: int = balance.OVERPROVISIONING
    weighted_health: bool = False
    known: bool = True
    """False when hosts are found by DNS or taken from the connection."""

    @property
    def name(self) -> str:
        """The cluster's."""
        return str(self.cluster.name)

    @property
    def panic_threshold(self) -> float:
        """Percent."""
        return float(
            wrapped(self.cluster.common_lb_config, "healthy_panic_threshold", balance.PANIC_THRESHOLD)
        )

    @property
    def priorities(self) -> int:
        """How many there are."""
        return max((item.priority for item in self.endpoints), default=-1) + 1

    def at(self, priority: int) -> tuple[Endpoint, ...]:
        """Those of one priority."""
        return tuple(item for item in self.endpoints if item.priority == priority)

    def levels(self) -> list[Level]:
        """Their health by priority."""
        return [self._level(self.at(priority)) for priority in range(self.priorities)]

    def _level(self, hosts: Sequence[Endpoint]) -> Level:
        def measure(chosen: Sequence[Endpoint]) -> int:
            return sum(item.weight for item in chosen) if self.weighted_health else len(chosen)

        healthy = [item for item in hosts if item.healthy]
        degraded = [item for item in hosts if item.degraded]
        return Level(
            measure(hosts), measure(healthy), measure(degraded), len(hosts), len(healthy) + len(degraded)
        )

    def choose(self) -> Choice:
        """How requests are spread now."""
        loads = balance.spread(self.levels(), self.overprovisioning, self.panic_threshold)
        return Choice(loads, self._shares(loads))

    def retry(self, before: Choice, attempted: Collection[int]) -> Choice:
        """How a retry is spread that leaves out the priorities tried before."""
        loads = balance.retried(self.levels(), attempted, before.loads, self.overprovisioning)
        return Choice(loads, self._shares(loads))

    def _shares(self, loads: Loads) -> tuple[Share, ...]:
        found: dict[str, Share] = {}
        for priority in range(self.priorities):
            hosts = self.at(priority)
            if loads.panic[priority]:
                parts = [(loads.of(priority), hosts, False)]
            else:
                parts = [
                    (loads.healthy[priority], tuple(item for item in hosts if item.healthy), True),
                    (loads.degraded[priority], tuple(item for item in hosts if item.degraded), True),
                ]
            for load, chosen, by_locality in parts:
                for item, part in self._within(hosts, chosen, by_locality and self.locality_weighted):
                    if load * part > 0:
                        before = found[item.where].share if item.where in found else 0.0
                        found[item.where] = Share(item, before + load * part / 100)
        return tuple(sorted(found.values(), key=lambda item: -item.share))

    def _within(
        self, hosts: Sequence[Endpoint], chosen: Sequence[Endpoint], by_locality: bool
    ) -> list[tuple[Endpoint, float]]:
        """The parts of those chosen in one priority."""
        if not by_locality:
            return _by_weight(chosen, 1.0)
        groups = list(dict.fromkeys(item.locality for item in hosts))
        members = [[item for item in chosen if item.locality == group] for group in groups]
        everyone = [[item for item in hosts if item.locality == group] for group in groups]
        shares = balance.locality_shares(
            [group[0].group_weight or 0 for group in everyone],
            [len(group) for group in members],
            [len(group) for group in everyone],
            self.overprovisioning,
        )
        if not any(shares):
            return _by_weight(chosen, 1.0)
        return [pair for group, part in zip(members, shares, strict=True) for pair in _by_weight(group, part)]

    @property
    def locality_weighted(self) -> bool:
        """Whether localities have weights of their own."""
        return bool(self.cluster.common_lb_config.HasField("locality_weighted_lb_config"))

    def noticing(self) -> tuple[Pool, tuple[str, ...]]:
        """The same once it has noticed who is down, as far as it can; and what it cannot notice."""
        down = [item for item in self.endpoints if item.down]
        if not down or self.cluster.health_checks:
            return self._without(down), ()
        share = f"{len(down)} of {len(self.endpoints)} hosts do not answer"
        if not detects_failure(self.cluster):
            blind = "neither outlier detection for failed connections nor health checks"
            return self, (f"{share}, and nothing notices: the cluster has {blind}",)
        limit = wrapped(self.cluster.outlier_detection, "max_ejection_percent", 10)
        always_one = bool(wrapped(self.cluster.outlier_detection, "always_eject_one_host", False))
        allowed = max(limit * len(self.endpoints) // 100, 1 if always_one else 0)
        after = self._without(down[:allowed])
        if len(down) <= allowed:
            return after, ()
        return after, (f"{share}, but max_ejection_percent {limit} lets only {allowed} be left out",)

    def _without(self, out: Sequence[Endpoint]) -> Pool:
        """The same with these left out."""
        places = {item.where for item in out}
        return replace(
            self,
            endpoints=tuple(replace(e, ejected=e.ejected or e.where in places) for e in self.endpoints),
        )


def _by_weight(hosts: Sequence[Endpoint], part: float) -> list[tuple[Endpoint, float]]:
    whole = sum(item.weight for item in hosts)
    return [(item, part * item.weight / whole) for item in hosts] if whole else []


def detects_failure(cluster: Proto) -> bool:
    """Whether outlier detection leaves out a host to which connections fail.

    Failed connections count as 5xx and as gateway errors, unless they are counted apart; that a kind of
    ejection is enforced is the default for all but gateway errors.
    https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto
    """
    if not cluster.HasField("outlier_detection"):
        return False
    outlier = cluster.outlier_detection
    if outlier.split_external_local_origin_errors:
        count = wrapped(outlier, "consecutive_local_origin_failure", 5)
        return bool(count and wrapped(outlier, "enforcing_consecutive_local_origin_failure", 100))
    by_5xx = wrapped(outlier, "consecutive_5xx", 5) and wrapped(outlier, "enforcing_consecutive_5xx", 100)
    by_gateway = wrapped(outlier, "consecutive_gateway_failure", 5) and wrapped(
        outlier, "enforcing_consecutive_gateway_failure", 0
    )
    return bool(by_5xx or by_gateway)


def pool_of(cluster: Proto, resources: Resources, down: Collection[str]) -> Pool:
    """The hosts of a cluster, over EDS or its own; `down` holds addresses, with or without a port."""
    discovery = -1 if which(cluster, "cluster_discovery_type") == "cluster_type" else cluster.type
    assignment: Proto = cluster.load_assignment
    if discovery == 3:
        name = cluster.eds_cluster_config.service_name or cluster.name
        found: Proto | None = resources.of(ENDPOINTS).get(name)
        if found is None:
            return Pool(cluster=cluster, endpoints=())
        assignment = found
    elif discovery == 4:
        return Pool(cluster=cluster, endpoints=(), known=False)
    endpoints = [
        _endpoint(group, item, down) for group in assignment.endpoints for item in group.lb_endpoints
    ]
    policy = assignment.policy
    return Pool(
        cluster=cluster,
        endpoints=tuple(endpoints),
        overprovisioning=wrapped(policy, "overprovisioning_factor", balance.OVERPROVISIONING),
        weighted_health=bool(policy.weighted_priority_health),
        known=discovery in (0, 3),
    )


def _endpoint(group: Proto, item: Proto, down: Collection[str]) -> Endpoint:
    address = item.endpoint.address
    if which(address, "address") == "socket_address":
        host, port = address.socket_address.address, address.socket_address.port_value
    else:
        host, port = address.pipe.path, 0
    parts = (group.locality.region, group.locality.zone, group.locality.sub_zone)
    labels = item.metadata.filter_metadata.get(SOCKET_MATCH)
    return Endpoint(
        address=host,
        port=port,
        region=group.locality.region,
        locality="/".join(part for part in parts if part),
        priority=group.priority,
        weight=wrapped(item, "load_balancing_weight", 1),
        group_weight=wrapped(group, "load_balancing_weight", None),
        status=_STATUSES[item.health_status],
        labels=_mapping(labels),
        down=host in down or f"{host}:{port}" in down,
    )


def _mapping(labels: Proto | None) -> Mapping[str, object]:
    found = {} if labels is None else struct_value(labels)
    return found if isinstance(found, dict) else {}

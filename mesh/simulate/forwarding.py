"""From a cluster to a host: balance, tries, and the connection that is made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mesh.simulate import retries
from mesh.simulate.messages import HTTP_OPTIONS, Proto, unpack
from mesh.simulate.request import Connection, Offer
from mesh.simulate.retries import Policy
from mesh.simulate.tables import without_port
from mesh.simulate.tls import dial
from mesh.simulate.trail import Trail
from mesh.simulate.upstream import Choice, Pool, pool_of
from mesh.simulate.walk import Attempt
from mesh.simulate.world import Node
from mesh.xds.resources import CLUSTER, ENDPOINTS

_BALANCERS = ("ROUND_ROBIN", "LEAST_REQUEST", "RING_HASH", "RANDOM", "", "MAGLEV", "CLUSTER_PROVIDED", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a cluster made of a request."""

    attempts: tuple[Attempt, ...] = ()
    connection: Connection | None = None
    """To the host that takes it; None: there is none."""
    problem: str = ""
    unknown: bool = False
    """The hosts are not known to a simulation (DNS, original destination)."""


def deliver(
    node: Node,
    cluster: Proto,
    policy: Policy,
    trail: Trail,
    *,
    down: Collection[str],
    noticed: bool,
    random: float | None,
    authority: str = "",
    through: Offer | None = None,
) -> Delivery:
    """Choose a host and connect; `through` is a TLS connection that is passed on unopened."""
    pool = pool_of(cluster, node.resources, down)
    trail.add("cluster", f"{pool.name}: {_balancer(cluster)}", CLUSTER, pool.name)
    if not pool.known and not pool.endpoints:
        return Delivery(unknown=True, problem="its hosts are found at run time")
    pool = _notice(pool, trail, noticed)
    attempts = retries.tries(pool, policy, random)
    _tell(pool, attempts, policy, trail, random)
    last = attempts[-1]
    if last.endpoint is None:
        return Delivery(attempts=attempts, problem="no healthy host" if pool.endpoints else "it has no hosts")
    if last.failed:
        return Delivery(attempts=attempts, problem=last.failed)
    dialled = dial(cluster, last.endpoint, node.proxy, _automatic_name(cluster, authority))
    offer = dialled.offer or through
    passed_on = through is not None and dialled.offer is None
    says = "TLS is passed on unopened" if passed_on else dialled.says
    trail.add("connection", says, CLUSTER, pool.name, "tls", sure=dialled.sure)
    return Delivery(
        attempts=attempts,
        connection=Connection(
            source=node.proxy.address, address=last.endpoint.address, port=last.endpoint.port, tls=offer
        ),
    )


def _notice(pool: Pool, trail: Trail, noticed: bool) -> Pool:
    """The hosts as the proxy sees them, and what it cannot see."""
    after, problems = pool.noticing()
    for problem in problems:
        trail.add("health", problem, CLUSTER, pool.name, "outlier_detection")
    ejected = [item.where for item in after.endpoints if item.ejected]
    if ejected and noticed:
        trail.add("health", f"left out: {', '.join(ejected)}", CLUSTER, pool.name, "outlier_detection")
    return after if noticed else pool


def _tell(
    pool: Pool, attempts: tuple[Attempt, ...], policy: Policy, trail: Trail, random: float | None
) -> None:
    for attempt in attempts:
        label = "" if attempt.number == 1 else f"try {attempt.number}: "
        if pool.priorities > 1 or any(attempt.choice.loads.panic):
            trail.add(
                "priority", label + priorities(pool, attempt.choice), CLUSTER, pool.name, "load_balancing"
            )
        for item in attempt.choice.shares[:8]:
            chosen = attempt.endpoint is not None and item.endpoint.where == attempt.endpoint.where
            where = f" in {item.endpoint.locality}" if item.endpoint.locality else ""
            mark = "→ " if chosen and not attempt.failed else ("✗ " if chosen else "  ")
            says = f"{label}{mark}{item.endpoint.where}{where}, {item.share:.0%} of requests"
            trail.add("endpoint", says, ENDPOINTS, pool.name, item.endpoint.where)
        if attempt.failed:
            trail.add("endpoint", f"{label}{attempt.failed}", ENDPOINTS, pool.name)
    if (
        attempts[-1].failed
        and attempts[-1].endpoint is not None
        and policy.attempts
        and not policy.after_reset
    ):
        conditions = ", ".join(policy.conditions)
        trail.add(
            "retry", f"not tried again: a failed connection is none of {conditions}", CLUSTER, pool.name
        )
    following = retries.foretold(pool, policy, random, len(attempts))
    if following and not attempts[-1].failed and len(pool.endpoints) > 1:
        ways = "; then ".join(
            f"{item.endpoint.where} (priority {item.endpoint.priority}"
            + (f", {item.endpoint.region})" if item.endpoint.region else ")")
            for item in following
            if item.endpoint is not None
        )
        trail.add("retry", f"should it fail, the next try goes to {ways}", CLUSTER, pool.name)


def priorities(pool: Pool, choice: Choice) -> str:
    """How the load falls on the priorities of a cluster."""
    parts = []
    for priority in range(pool.priorities):
        hosts = pool.at(priority)
        regions = ", ".join(dict.fromkeys(item.region for item in hosts if item.region)) or "no region"
        healthy = sum(item.healthy for item in hosts)
        panic = ", panic: health is not believed" if choice.loads.panic[priority] else ""
        parts.append(
            f"priority {priority} ({regions}, {healthy} of {len(hosts)} healthy{panic}) "
            f"gets {choice.loads.of(priority)} %"
        )
    return "; ".join(parts)


def _automatic_name(cluster: Proto, authority: str) -> str:
    """The server name when it follows the request's host (`auto_sni`)."""
    packed = cluster.typed_extension_protocol_options
    options = unpack(packed[HTTP_OPTIONS]) if HTTP_OPTIONS in packed else None
    automatic = options is not None and options.upstream_http_protocol_options.auto_sni
    return without_port(authority) if automatic else ""


def _balancer(cluster: Proto) -> str:
    name = ""
    if cluster.HasField("load_balancing_policy"):
        names = [item.typed_extension_config.name for item in cluster.load_balancing_policy.policies]
        name = ", ".join(item.rpartition(".")[2].upper() for item in names)
    return name or _BALANCERS[cluster.lb_policy] or "its own balancing"

"""Who calls whom, as far as AuthorizationPolicies say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mesh.lint.view import Mesh
from mesh.manifests.security import Action, AuthorizationPolicy


def allowed_callers(mesh: Mesh) -> Iterator[tuple[str, str, str]]:
    """Namespace and service account that some ALLOW policy lets in, and the host that it may call."""
    for policy in mesh.manifests.of(AuthorizationPolicy):
        if policy.spec.action not in (None, Action.ALLOW):
            continue
        selector = policy.spec.selector.match_labels if policy.spec.selector else None
        if not selector:
            continue
        hosts = {
            service.host
            for workload in mesh.selected(policy.namespace, selector)
            for service in mesh.services_of(workload)
        }
        for rule in policy.spec.rules:
            for source in rule.from_:
                for principal in source.source.principals if source.source else ():
                    who = identity(principal)
                    if who is not None:
                        yield from ((*who, host) for host in sorted(hosts))


def identity(principal: str) -> tuple[str, str] | None:
    """Namespace and service account of `cluster.local/ns/causeway/sa/gateway`; None for a pattern."""
    parts = principal.split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa" or "*" in principal:
        return None
    return parts[2], parts[4]


def call_edges(mesh: Mesh) -> Mapping[str, frozenset[str]]:
    """By a service's host: the hosts that its workloads may call."""
    edges: dict[str, set[str]] = {}
    for namespace, account, host in allowed_callers(mesh):
        for workload in mesh.workloads_as(namespace, account):
            for service in mesh.services_of(workload):
                if service.host != host:
                    edges.setdefault(service.host, set()).add(host)
    return {caller: frozenset(called) for caller, called in edges.items()}


def heaviest_chains(
    edges: Mapping[str, frozenset[str]], weight: Callable[[str], int]
) -> tuple[tuple[str, ...], ...]:
    """From every service that nobody calls, the way along which the weights multiply to the most.

    Calls that close a circle are left out: nobody means them to be followed for ever.
    """
    best: dict[str, tuple[int, tuple[str, ...]]] = {}
    open_: set[str] = set()

    def heaviest(host: str) -> tuple[int, tuple[str, ...]]:
        if host not in best:
            open_.add(host)
            further = [heaviest(called) for called in sorted(edges.get(host, ())) if called not in open_]
            product, chain = max(further, key=lambda one: one[0], default=(1, ()))
            best[host] = (product * weight(host), (host, *chain))
            open_.remove(host)
        return best[host]

    called = {host for hosts in edges.values() for host in hosts}
    return tuple(heaviest(start)[1] for start in sorted(set(edges) - called))

"""Manifests for tests of resolving, as text that the real reader reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from textwrap import dedent, indent

from mesh.ir.cluster import Cluster
from mesh.ir.listener import Listener
from mesh.ir.route import Forward, Route, RouteTable, VirtualHost
from mesh.ir.view import Proxy, ProxyView
from mesh.manifests import Manifests, Text, read
from mesh.resolve import Index, index, proxies, resolve

NAMESPACE = "shop"
_GROUPS = {
    "AuthorizationPolicy": "security.istio.io/v1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "IstioOperator": "install.istio.io/v1alpha1",
    "PeerAuthentication": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "Service": "v1",
    "Telemetry": "telemetry.istio.io/v1",
}


def host(name: str, namespace: str = NAMESPACE) -> str:
    """Full host of a service."""
    return f"{name}.{namespace}.svc.cluster.local"


def manifest(
    kind: str,
    name: str,
    spec: str,
    *,
    namespace: str = NAMESPACE,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> str:
    """One document; `spec` is YAML."""
    version = _GROUPS.get(kind, "networking.istio.io/v1")
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": labels or {},
        "annotations": annotations or {},
    }
    head = f"apiVersion: {version}\nkind: {kind}\nmetadata: {json.dumps(metadata)}\n"
    body = dedent(spec).strip("\n")
    return head + ("spec: {}\n" if not body.strip() else f"spec:\n{indent(body, '  ')}\n")


def mesh_config(config: str) -> str:
    """The whole mesh's settings."""
    body = indent(dedent(config).strip("\n"), "  ")
    return manifest("IstioOperator", "mesh", f"meshConfig:\n{body}", namespace="istio-system")


def service(
    name: str, *, namespace: str = NAMESPACE, port: int = 8080, protocol: str = "GRPC", more: str = ""
) -> str:
    """A service of the workloads with the label `app: <name>`, which listen on 9443."""
    spec = f"""
hosts: [{host(name, namespace)}]
location: MESH_INTERNAL
resolution: STATIC
ports: [{{number: {port}, name: {protocol.lower()}, protocol: {protocol}, targetPort: 9443}}]
workloadSelector: {{labels: {{app: {name}}}}}
"""
    return manifest("ServiceEntry", name, spec + dedent(more), namespace=namespace)


def workload(
    name: str,
    app: str,
    *,
    namespace: str = NAMESPACE,
    address: str = "127.1.0.1",
    locality: str = "west/west-a",
    account: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    more: str = "",
) -> str:
    """A workload with a sidecar, unless `account` is empty."""
    account = app if account is None else account
    said = f"serviceAccount: {account}\n" if account else ""
    spec = f"""
address: {address}
locality: {locality}
labels: {json.dumps({"app": app, **(labels or {})})}
{said}
"""
    return manifest("WorkloadEntry", name, spec + dedent(more), namespace=namespace, annotations=annotations)


CLIENT = workload("client", "client", address="127.1.0.9")
SERVER = workload("server", "server", address="127.1.0.1") + "---\n" + service("server")


def manifests(*documents: str) -> Manifests:
    """What the reader makes of documents."""
    return read([Text("mesh.yaml", "---\n".join(documents))])


def indexed(*documents: str) -> Index:
    """All of them, indexed."""
    return index(manifests(*documents))


def proxy_of(found: Index, name: str) -> Proxy:
    """The proxy of a workload."""
    return next(proxy for proxy in proxies(found.manifests) if proxy.name == name)


def view_of(*documents: str, proxy: str = "client") -> ProxyView:
    """What one proxy is to do."""
    found = indexed(*documents)
    return resolve(found, proxy_of(found, proxy))


def cluster(view: ProxyView, name: str) -> Cluster:
    """By name."""
    return next(one for one in view.clusters if one.name == name)


def of_service(view: ProxyView, name: str, port: int = 8080, subset: str = "") -> Cluster:
    """A service's cluster."""
    return cluster(view, f"outbound|{port}|{subset}|{host(name)}")


def cluster_names(view: ProxyView) -> set[str]:
    """Of services alone."""
    return {one.name for one in view.clusters if one.name.startswith("outbound|")}


def table(view: ProxyView, name: str = "8080") -> RouteTable:
    """By name."""
    return next(one for one in view.route_tables if one.name == name)


def virtual_host(view: ProxyView, domain: str, name: str = "8080") -> VirtualHost:
    """That a domain of a table leads to."""
    return next(one for one in table(view, name).hosts if domain in one.domains)


def routes(view: ProxyView, app: str = "server", name: str = "8080") -> tuple[Route, ...]:
    """Of a service."""
    return virtual_host(view, host(app), name).routes


def forwarded(route: Route) -> Forward:
    """What a route does when it sends on."""
    assert isinstance(route.action, Forward)
    return route.action


def listener(view: ProxyView, name: str) -> Listener:
    """By name."""
    return next(one for one in view.listeners if one.name == name)


def priorities(one: Cluster) -> list[tuple[int, str, list[str]]]:
    """Priority, locality and workloads of each group."""
    return [
        (group.priority, str(group.locality), sorted(host.workload.partition("/")[2] for host in group.hosts))
        for group in one.groups
    ]


def virtual_service(
    http: str, *, name: str = "server", more: str = "", hosts: Iterable[str] = ("server",)
) -> str:
    """Rules for requests to the server."""
    listed = ", ".join(json.dumps(one) for one in hosts)
    body = f"hosts: [{listed}]\nhttp:\n{indent(dedent(http).strip(chr(10)), '  ')}\n" + dedent(more)
    return manifest("VirtualService", name, body)

"""istio/ is clean, agrees with the protos, and says the same thing in each of its places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from mesh.lint import Severity, lint
from mesh.lint.calls import identity
from mesh.lint.methods import Method, platform_methods
from mesh.lint.paths import takes_path
from mesh.lint.sources import kustomization_of
from mesh.manifests import Manifest, Manifests
from mesh.manifests.destination_rule import DestinationRule
from mesh.manifests.gateway import Gateway
from mesh.manifests.security import AuthorizationPolicy, RequestAuthentication
from mesh.manifests.sidecar import Sidecar
from mesh.manifests.virtual_service import HTTPRoute, VirtualService
from mesh.resolve import index, proxies, resolve
from mesh.translate import translate
from mesh.xds.resources import LISTENER

ISTIO = Path(__file__).parents[3] / "istio"
REGIONS = tuple(sorted(path.name for path in (ISTIO / "overlays").iterdir()))
EXAMPLES = tuple(sorted(path.name for path in (ISTIO / "examples").iterdir()))
CLUSTERS = [*(f"clusters/{region}" for region in REGIONS), *(f"examples/{name}" for name in EXAMPLES)]
Read = Callable[[str], Manifests]
SAFE = {"connect-failure", "refused-stream"}
REPEATABLE = {*SAFE, "unavailable", "reset"}
INGRESS = "ingress"
INTERNAL = ("AuthorizationService", "RedactionService", "AuditService/Append", "Reserve", "Settle")
"""RPCs of policy that services call, and people do not."""


@pytest.fixture(scope="module")
def methods() -> Mapping[str, Method]:
    return platform_methods()


def virtual_service(manifests: Manifests, name: str) -> Manifest[VirtualService]:
    (found,) = [one for one in manifests.of(VirtualService) if one.name == name]
    return found


def route_of(manifest: Manifest[VirtualService], path: str) -> HTTPRoute | None:
    return next((route for route in manifest.spec.http if takes_path(route, path)), None)


def service_of(path: str) -> str:
    """`/causeway.session.v1.MessageService/ListMessages` is session's."""
    return path.split(".")[1]


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_a_cluster_applies_has_no_findings(
    name: str, methods: Mapping[str, Method], cluster: Read
) -> None:
    assert [str(one) for one in lint(cluster(name), methods)] == []


@pytest.mark.parametrize("region", REGIONS)
def test_what_the_local_control_plane_reads_has_no_findings(
    region: str, methods: Mapping[str, Method], local: Read
) -> None:
    found = lint(local(region), methods)
    assert [str(one) for one in found if Path(one.file).is_relative_to(ISTIO)] == []
    assert [str(one) for one in found if one.severity is Severity.ERROR] == []


def check(route: HTTPRoute | None, method: Method) -> None:
    assert route is not None, f"{method.path} has no route"
    assert route.retries is not None
    assert route.retries.retry_remote_localities
    assert route.retries.attempts == 2
    conditions = set((route.retries.retry_on or "").split(","))
    assert conditions == (REPEATABLE if method.repeatable else SAFE), method.path
    if method.streams:
        assert not route.timeout
        assert not route.retries.per_try_timeout
    elif method.repeatable:
        assert route.timeout
        assert route.retries.per_try_timeout
        assert route.timeout >= route.retries.per_try_timeout * 3


def test_every_rpc_is_retried_as_its_idempotency_level_allows(
    methods: Mapping[str, Method], cluster: Read
) -> None:
    manifests = cluster(CLUSTERS[0])
    for method in methods.values():
        check(route_of(virtual_service(manifests, service_of(method.path)), method.path), method)


def test_the_ingress_has_a_route_for_every_rpc_that_people_call(
    methods: Mapping[str, Method], cluster: Read
) -> None:
    ingress = virtual_service(cluster(CLUSTERS[0]), INGRESS)
    for method in methods.values():
        route = route_of(ingress, method.path)
        if any(word in method.path for word in INTERNAL):
            assert route is None, f"{method.path} is none of the ingress's"
        else:
            check(route, method)
            assert route is not None
            (target,) = route.route
            assert target.destination is not None
            assert target.destination.host == f"{service_of(method.path)}.causeway.svc.cluster.local"
            assert route.cors_policy is not None


def allowed(manifests: Manifests, namespace: str, name: str) -> Iterator[tuple[str | None, str]]:
    """Service account (None: by token or anybody) and path that a policy lets in."""
    (policy,) = [
        one for one in manifests.of(AuthorizationPolicy) if (one.namespace, one.name) == (namespace, name)
    ]
    for rule in policy.spec.rules:
        principals = [name for one in rule.from_ if one.source for name in one.source.principals]
        callers: list[str | None] = [who[1] for who in map(identity, principals) if who]
        for to in rule.to:
            paths = to.operation.paths if to.operation else ()
            yield from ((who, path) for who in callers or [None] for path in paths)


def covers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def test_people_get_in_for_exactly_the_rpcs_that_have_a_route(
    methods: Mapping[str, Method], cluster: Read
) -> None:
    manifests = cluster(CLUSTERS[0])
    ingress = virtual_service(manifests, INGRESS)
    let_in = [path for _, path in allowed(manifests, "causeway-ingress", INGRESS)]
    for method in methods.values():
        routed = route_of(ingress, method.path) is not None
        assert any(covers(pattern, method.path) for pattern in let_in) == routed, method.path


def test_what_the_ingress_routes_to_a_service_the_service_lets_in(
    methods: Mapping[str, Method], cluster: Read
) -> None:
    manifests = cluster(CLUSTERS[0])
    ingress = virtual_service(manifests, INGRESS)
    for method in methods.values():
        if route_of(ingress, method.path) is not None:
            rules = allowed(manifests, "causeway", service_of(method.path))
            assert any(who == INGRESS and covers(path, method.path) for who, path in rules), method.path


def test_only_the_ingress_asks_policy_as_envoy_does(cluster: Read) -> None:
    rules = list(allowed(cluster(CLUSTERS[0]), "causeway", "policy"))
    asking = {(who, path) for who, path in rules if path.startswith("/envoy.")}
    assert asking == {
        (INGRESS, "/envoy.service.auth.v3.Authorization/Check"),
        (INGRESS, "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"),
    }


def test_a_sidecar_knows_exactly_the_services_that_its_application_may_call(cluster: Read) -> None:
    manifests = cluster(CLUSTERS[0])
    may: dict[str, set[str]] = {}
    for service in ("gateway", "session", "retrieval", "policy", "triton"):
        for who, _ in allowed(manifests, "causeway", service):
            if who not in (None, INGRESS):
                may.setdefault(str(who), set()).add(f"./{service}.causeway.svc.cluster.local")
    for sidecar in manifests.of(Sidecar):
        hosts = {host for listener in sidecar.spec.egress for host in listener.hosts}
        services = {host for host in hosts if host.endswith(".causeway.svc.cluster.local")}
        assert services == may.get(sidecar.name, set()), sidecar.name


def test_every_service_leaves_a_region_that_fails(cluster: Read) -> None:
    manifests = cluster(CLUSTERS[0])
    rules = manifests.of(DestinationRule)
    assert {rule.name for rule in rules} == {"gateway", "session", "retrieval", "policy", "triton"}
    for rule in rules:
        policy = rule.spec.traffic_policy
        assert policy is not None
        outlier, balancer = policy.outlier_detection, policy.load_balancer
        assert outlier is not None
        assert balancer is not None
        assert (outlier.consecutive_gateway_errors, outlier.max_ejection_percent) == (1, 100)
        assert outlier.min_health_percent == 1
        assert balancer.locality_lb_setting is not None
        failover = {(one.from_, one.to) for one in balancer.locality_lb_setting.failover}
        assert failover == {(here, there) for here in REGIONS for there in REGIONS if here != there}


def test_the_regions_differ_in_their_names_alone(cluster: Read) -> None:
    first, second = (cluster(f"clusters/{region}") for region in REGIONS)
    differing = {
        str(one)
        for one, other in zip(first, second, strict=True)
        if (one.kind, one.spec) != (other.kind, other.spec)
    }
    assert differing == {"Gateway causeway-ingress/ingress"}
    for region in REGIONS:
        (gateway,) = cluster(f"clusters/{region}").of(Gateway)
        for server in gateway.spec.servers:
            assert server.hosts == ("api.causeway.local", f"{region}.api.causeway.local")


def test_locally_tokens_are_verified_as_in_a_cluster_but_for_where_the_keys_are(
    cluster: Read, local: Read
) -> None:
    (applied,) = cluster(CLUSTERS[0]).of(RequestAuthentication)
    (written,) = local(REGIONS[0]).of(RequestAuthentication)
    assert (applied.namespace, applied.spec.selector) == (written.namespace, written.spec.selector)
    (remote,), (inline,) = applied.spec.jwt_rules, written.spec.jwt_rules
    assert (remote.issuer, remote.audiences) == (inline.issuer, inline.audiences)
    assert remote.forward_original_token
    assert inline.forward_original_token
    assert remote.jwks_uri
    assert inline.jwks


def test_a_kustomization_names_every_manifest_beside_it() -> None:
    for folder in sorted({path.parent for path in ISTIO.rglob("kustomization.yaml")}):
        file = kustomization_of(folder)
        assert file is not None
        document = yaml.safe_load(file.read_text("utf-8"))
        named = {entry for entry in document["resources"] if (folder / entry).is_file()}
        named |= {patch["path"] for patch in document.get("patches", ())}
        below = {
            path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml") if path.name != file.name
        }
        assert below == named, folder


def test_the_examples_change_the_model_server_or_the_telemetry_alone(cluster: Read) -> None:
    plain = {str(one): one.spec for one in cluster("clusters/us-west-2")}
    versions = {"DestinationRule causeway/triton", "VirtualService causeway/triton"}
    expected = dict.fromkeys(EXAMPLES, versions) | {"metrics": {"Telemetry istio-system/default"}}
    for name in EXAMPLES:
        changed = {str(one) for one in cluster(f"examples/{name}") if plain[str(one)] != one.spec}
        assert changed == expected[name]


def test_metrics_are_off_but_for_their_example_and_there_on_every_envoy(
    local: Callable[[str], Manifests],
) -> None:
    def counting(name: str) -> dict[str, set[str]]:
        manifests = local(name)
        found = index(manifests)
        views = {one.name: resolve(found, one) for one in proxies(manifests)}
        assert all(translate(view).of(LISTENER) for view in views.values())
        return {
            proxy: {
                metric.kind.value
                for listener in view.listeners
                for metric in (listener.telemetry.metrics.metrics if listener.telemetry.metrics else ())
            }
            for proxy, view in views.items()
        }

    off, on = counting("us-west-2"), counting("metrics")
    assert set(off) == set(on)
    assert not any(off.values())
    assert all("istio_requests_total" in kinds for kinds in on.values())

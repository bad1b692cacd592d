"""https://istio.io/latest/docs/reference/config/networking/sidecar/ and `exportTo`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.mesh.resolve.documents import (
    CLIENT,
    cluster_names,
    forwarded,
    host,
    listener,
    manifest,
    manifests,
    mesh_config,
    service,
    table,
    view_of,
    virtual_host,
    virtual_service,
    workload,
)

from mesh.ir.route import DirectResponse
from mesh.manifests import ManifestErrors
from mesh.resolve.names import covers, overlaps
from mesh.resolve.scope import EgressHosts

SERVICES = (
    service("near"),
    service("also-near", port=9090),
    service("far", namespace="other"),
)
NEAR, ALSO_NEAR = f"outbound|8080||{host('near')}", f"outbound|9090||{host('also-near')}"
FAR = f"outbound|8080||{host('far', 'other')}"


def sidecar(
    name: str, hosts: str, *, namespace: str = "shop", selector: str = "", more: str = "", port: str = ""
) -> str:
    chosen = f"workloadSelector: {{labels: {selector}}}" if selector else ""
    return manifest(
        "Sidecar", name, f"{chosen}\negress: [{{{port}hosts: [{hosts}]}}]\n{more}", namespace=namespace
    )


@pytest.mark.parametrize(
    "hosts, seen",
    [
        ('"*/*"', {NEAR, ALSO_NEAR, FAR}),
        ('"./*"', {NEAR, ALSO_NEAR}),
        ('"other/*"', {FAR}),
        ('"~/*"', set()),
        (f'"./{host("near")}"', {NEAR}),
        (f'"*/{host("near")}", "other/*"', {NEAR, FAR}),
        ('"*/*.other.svc.cluster.local"', {FAR}),
        (f'"./{host("far", "other")}"', set()),
    ],
)
def test_an_egress_listener_lets_through_the_hosts_that_it_names(hosts: str, seen: set[str]) -> None:
    assert cluster_names(view_of(CLIENT, *SERVICES, sidecar("scope", hosts))) == seen


def test_without_a_sidecar_resource_everything_that_is_exported_is_seen() -> None:
    assert cluster_names(view_of(CLIENT, *SERVICES)) == {NEAR, ALSO_NEAR, FAR}


def test_the_sidecar_of_the_workload_comes_before_the_namespaces_and_the_roots() -> None:
    root = sidecar("root", '"./*", "other/*"', namespace="istio-system")
    own = sidecar("own", '"./*"')
    chosen = sidecar("chosen", '"other/*"', selector="{app: client}")
    other = sidecar("other", '"~/*"', selector="{app: server}")

    assert cluster_names(view_of(CLIENT, *SERVICES, root)) == {NEAR, ALSO_NEAR, FAR}
    assert cluster_names(view_of(CLIENT, *SERVICES, root, own)) == {NEAR, ALSO_NEAR}
    assert cluster_names(view_of(CLIENT, *SERVICES, root, own, other, chosen)) == {FAR}


def test_the_roots_sidecar_means_the_workloads_namespace_by_a_dot() -> None:
    far_client = workload("client", "client", namespace="other")

    view = view_of(far_client, *SERVICES, sidecar("root", '"./*"', namespace="istio-system"))

    assert cluster_names(view) == {FAR}


def test_a_listener_for_a_port_lets_through_that_port_alone() -> None:
    port = "port: {number: 9090, protocol: GRPC, name: grpc}, "

    view = view_of(CLIENT, *SERVICES, sidecar("scope", '"./*"', port=port))

    assert cluster_names(view) == {ALSO_NEAR}


def test_what_a_virtual_service_sends_to_is_seen_too() -> None:
    rule = virtual_service(
        f"- route: [{{destination: {{host: {host('far', 'other')}}}}}]", name="near", hosts=["near"]
    )

    view = view_of(CLIENT, *SERVICES, rule, sidecar("scope", f'"./{host("near")}"'))

    assert cluster_names(view) == {NEAR, FAR}


def test_a_service_that_is_not_exported_is_seen_in_its_own_namespace_alone() -> None:
    private = service("private", namespace="other", more="exportTo: ['.']")
    far_client = workload("client", "client", namespace="other")
    name = f"outbound|8080||{host('private', 'other')}"

    assert name not in cluster_names(view_of(CLIENT, private))
    assert name in cluster_names(view_of(far_client, private))


def test_the_mesh_config_may_change_to_whom_services_are_exported() -> None:
    config = mesh_config("defaultServiceExportTo: ['.']")

    assert cluster_names(view_of(CLIENT, *SERVICES, config)) == {NEAR, ALSO_NEAR}


def test_of_services_with_one_host_the_callers_namespaces_comes_first() -> None:
    shared = (
        "hosts: [api.example.com]\nresolution: STATIC\nports: [{number: 80, name: http, protocol: HTTP}]\n"
    )
    theirs = manifest("ServiceEntry", "a", shared + "endpoints: [{address: 10.0.0.1}]", namespace="other")
    ours = manifest("ServiceEntry", "b", shared + "endpoints: [{address: 10.0.0.2}]")

    found = next(one for one in view_of(CLIENT, theirs, ours).clusters if "api.example.com" in one.name)

    assert [host.address for group in found.groups for host in group.hosts] == ["10.0.0.2"]


def destination(*documents: str) -> str:
    view = view_of(CLIENT, service("server"), *documents)
    return forwarded(virtual_host(view, host("server")).routes[0]).destinations[0].cluster.split("|")[2]


def choosing(subset: str, *, export_to: str = "", namespace: str = "shop") -> str:
    said = f"exportTo: {export_to}" if export_to else ""
    return manifest(
        "VirtualService",
        f"to-{subset}",
        f"""
hosts: [{host("server")}]
http: [{{route: [{{destination: {{host: {host("server")}, subset: {subset}}}}}]}}]
{said}
""",
        namespace=namespace,
    )


def test_of_two_virtual_services_for_a_host_the_older_one_wins() -> None:
    assert destination(choosing("older"), choosing("younger")) == "older"


def test_a_private_virtual_service_comes_before_one_exported_by_name_and_that_before_a_public_one() -> None:
    public = choosing("public")
    named = choosing("named", export_to="[shop]", namespace="other")
    private = choosing("private", export_to="['.']")

    assert destination(public, named) == "named"
    assert destination(public, named, private) == "private"


def test_a_virtual_service_of_another_namespace_that_is_not_exported_changes_nothing() -> None:
    assert destination(choosing("foreign", export_to="['.']", namespace="other")) == ""


def test_virtual_services_are_let_through_like_services() -> None:
    foreign = choosing("foreign", namespace="other")

    assert destination(foreign, sidecar("scope", '"./*"')) == ""
    assert destination(foreign, sidecar("scope", '"*/*"')) == "foreign"


@pytest.mark.parametrize("said", ["", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"])
def test_unknown_hosts_are_refused_said_or_not(said: str) -> None:
    documents = [mesh_config(said)] if said else []
    (catch_all,) = [one for one in table(view_of(CLIENT, *SERVICES, *documents)).hosts if "*" in one.domains]
    (route,) = catch_all.routes

    assert route.action == DirectResponse(status=502)


@pytest.mark.parametrize(
    "document, place",
    [
        (
            mesh_config("outboundTrafficPolicy: {mode: ALLOW_ANY}"),
            "spec.meshConfig.outboundTrafficPolicy.mode",
        ),
        (
            sidecar("scope", '"./*"', more="outboundTrafficPolicy: {mode: ALLOW_ANY}"),
            "spec.outboundTrafficPolicy.mode",
        ),
    ],
)
def test_who_asks_to_pass_unknown_hosts_on_is_told_that_it_cannot_be_done(document: str, place: str) -> None:
    with pytest.raises(
        ManifestErrors, match=rf"mesh\.yaml:\d+ .*{place}: ALLOW_ANY is not supported: nothing"
    ):
        manifests(document)


def test_listeners_take_the_bind_and_port_that_the_sidecar_resource_names() -> None:
    scope = manifest(
        "Sidecar",
        "scope",
        """
egress:
  - {port: {number: 8080, protocol: GRPC, name: grpc}, bind: 127.7.7.7, captureMode: NONE, hosts: ["./*"]}
  - {port: {number: 9090, protocol: GRPC, name: also}, captureMode: NONE, hosts: ["./*"]}
""",
    )

    view = view_of(CLIENT, *SERVICES, scope)

    assert [one.name for one in view.listeners] == ["127.1.0.9_9090", "127.7.7.7_8080"]
    assert listener(view, "127.7.7.7_8080").address == "127.7.7.7"


NAMES = st.sampled_from(["a.x", "b.x", "a.b.x", "*.x", "*.b.x", "*"])
ENTRIES = st.tuples(st.sampled_from(["", "./", "*/", "far/", "shop/"]), NAMES).map("".join)


@given(st.lists(ENTRIES, max_size=4), st.sampled_from(["shop", "far"]), NAMES)
def test_hosts_of_an_egress_listener_let_through_what_each_entry_alone_would(
    entries: list[str], namespace: str, name: str
) -> None:
    def owned(entry: str) -> bool:
        owner = entry.rpartition("/")[0]
        return owner in ("", "*") or (("shop" if owner == "." else owner) == namespace)

    patterns = [entry.rpartition("/")[2] for entry in entries if owned(entry)]
    found = EgressHosts(entries, "shop")

    assert found.cover(namespace, name) == any(covers(pattern, name) for pattern in patterns)
    assert found.meet(namespace, (name,)) == any(overlaps(pattern, name) for pattern in patterns)

"""The processes of a platform, as plain data."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.local import names, topology
from mesh.local.addresses import Network
from mesh.local.binaries import Binaries
from mesh.local.layout import Layout
from mesh.local.names import DataPlane, Shape
from mesh.local.placement import Placement
from mesh.local.plan import Plan
from mesh.local.settings import Settings
from mesh.local.spec import GrpcHealthProbe, ProcessSpec
from mesh.local.supervisor import check_order, dependents
from mesh.local.topology import Site
from mesh.local.workloads import address_names

HOME = Path("/srv/platform")
LAYOUT = Layout(HOME)
MESH = Shape(("us-west-2", "us-east-1"), DataPlane.SIDECAR)
PROXYLESS = Shape(("us-west-2", "us-east-1"), DataPlane.PROXYLESS)
SITE = Site(
    binaries=Binaries(Path("/w/pg"), Path("/w/valkey-server"), Path("/w/milvus")),
    placement=Placement(Path("/w/pg"), HOME / "data/postgres", None),
    account=None,
    triton_shm={region: f"causeway-{region}-" for region in ("", *MESH.regions)},
    envoy=Path("/w/envoy"),
)


def plan(shape: Shape) -> Plan:
    ports = {name: 20000 + index for index, name in enumerate(shape.port_names())}
    if not shape.has_mesh:
        return Plan(shape, ports)
    hosts = {name: 2 + index for index, name in enumerate(address_names(shape))}
    return Plan(shape, ports, Network("127.66.1", hosts))


PORTS = plan(names.SINGLE).ports


def build(
    only: list[str] | None = None, shape: Shape = names.SINGLE, **chosen: object
) -> dict[str, ProcessSpec]:
    settings = Settings(home=HOME, **chosen)  # type: ignore[arg-type]
    return {spec.name: spec for spec in topology.build(settings, LAYOUT, plan(shape), SITE, only)}


@pytest.mark.parametrize("shape", [names.SINGLE, MESH, PROXYLESS])
def test_a_whole_platform_can_be_started_in_the_order_of_its_dependencies(shape: Shape) -> None:
    specs = build(shape=shape)
    assert tuple(specs) == shape.names
    check_order(list(specs.values()))


@pytest.mark.parametrize("shape", [names.SINGLE, MESH])
def test_no_argument_list_and_no_environment_holds_a_password(shape: Shape) -> None:
    for spec in build(shape=shape).values():
        assert not [key for key in spec.env if key.endswith("PASSWORD")]
        assert not [value for value in (*spec.argv, *spec.env.values()) if "password=" in value]


@pytest.mark.parametrize("shape", [names.SINGLE, MESH])
def test_every_server_listens_on_loopback_only(shape: Shape) -> None:
    for spec in build(shape=shape).values():
        listen = spec.env.get("CAUSEWAY_LISTEN")
        assert listen is None or listen.startswith("127.0.0.1:")
        assert spec.host.startswith("127.")
    assert "127.0.0.1:20002" in build()["milvus"].argv


def test_every_service_is_told_where_its_peers_are_and_what_they_are_called() -> None:
    env = build()["gateway"].env
    for peer in ("session", "retrieval", "policy", "triton"):
        assert env[f"CAUSEWAY_{peer.upper()}_TARGET"] == f"127.0.0.1:{PORTS[peer]}"
        assert env[f"CAUSEWAY_{peer.upper()}_AUTHORITY"] == f"{peer}.causeway.svc.cluster.local"


def test_services_connect_as_themselves_and_the_indexer_as_retrieval() -> None:
    specs = build()
    for name, role in {"policy": "policy", "session": "session", "indexer": "retrieval"}.items():
        assert f"user={role}" in specs[name].env["CAUSEWAY_POSTGRES_DSN"]
        assert specs[name].env["CAUSEWAY_POSTGRES_PASSWORD_FILE"].endswith(f"postgres-{role}.password")
    assert "user=retrieval_relay" in specs["retrieval"].env["CAUSEWAY_RELAY_POSTGRES_DSN"]
    assert "user=causeway_owner" in specs["migrations"].env["CAUSEWAY_POSTGRES_DSN"]


def test_a_part_of_the_platform_drops_dependencies_outside_it_but_keeps_all_addresses() -> None:
    specs = build(["retrieval", "postgres"])
    assert list(specs) == ["postgres", "retrieval"]
    assert specs["retrieval"].depends == ()
    assert specs["retrieval"].env["CAUSEWAY_TRITON_TARGET"] == f"127.0.0.1:{PORTS['triton']}"


def test_an_unknown_process_is_refused_by_name() -> None:
    with pytest.raises(names.UnknownProcessError, match="no process is called 'postgre'"):
        build(["postgre"])


def test_settings_for_one_process_reach_that_process_only() -> None:
    specs = build(env={"retrieval": {"CAUSEWAY_CHUNK_TOKENS": "200"}})
    assert [name for name, spec in specs.items() if "CAUSEWAY_CHUNK_TOKENS" in spec.env] == ["retrieval"]


def test_services_get_their_drain_and_more_before_they_are_killed() -> None:
    spec = build(drain="7s")["gateway"]
    assert (spec.env["CAUSEWAY_DRAIN"], spec.stop_timeout) == ("7s", 12.0)
    assert isinstance(spec.probe, GrpcHealthProbe)


@pytest.mark.parametrize("depends", [{"a": ("b",), "b": ("a",)}, {"a": ("a",)}, {"a": ("missing",)}])
def test_circles_and_unknown_dependencies_are_refused(depends: dict[str, tuple[str, ...]]) -> None:
    specs = [
        ProcessSpec(name=name, argv=("/bin/true",), cwd=HOME, depends=needs)
        for name, needs in depends.items()
    ]
    with pytest.raises(ValueError, match="unknown or circular"):
        check_order(specs)


def test_with_a_mesh_a_service_dials_its_own_sidecar_by_its_peers_names() -> None:
    specs = build(shape=MESH)
    for region in MESH.regions:
        env, own = specs[f"gateway@{region}"].env, specs[f"envoy-gateway@{region}"].host
        assert env["CAUSEWAY_REGION"] == region
        assert env["CAUSEWAY_TRITON_TARGET"] == f"{own}:8001"
        for peer in ("session", "retrieval", "policy"):
            assert env[f"CAUSEWAY_{peer.upper()}_TARGET"] == f"{own}:8080"
            assert env[f"CAUSEWAY_{peer.upper()}_AUTHORITY"] == f"{peer}.causeway.svc.cluster.local"


def test_a_client_that_is_its_own_proxy_dials_names_and_knows_where_to_ask() -> None:
    env = build(shape=PROXYLESS)["gateway@us-east-1"].env
    assert env["CAUSEWAY_SESSION_TARGET"] == "xds:///session.causeway.svc.cluster.local:8080"
    assert env["GRPC_XDS_BOOTSTRAP"].endswith("envoy-gateway@us-east-1/grpc.json")
    assert "GRPC_XDS_BOOTSTRAP" not in build(shape=MESH)["gateway@us-east-1"].env


def test_no_two_processes_of_a_mesh_listen_at_the_same_place() -> None:
    places = [
        (spec.host, port)
        for spec in build(shape=MESH).values()
        for port in (spec.port, *spec.other_ports)
        if port
    ]
    assert len(places) == len(set(places))


def test_data_servers_stand_outside_regions_once() -> None:
    regions = {spec.program: spec.region for spec in build(shape=MESH).values() if not spec.region}
    assert set(regions) == {"postgres", "valkey", "milvus", "models", "migrations", "front"}


def test_calls_under_way_find_their_sidecars_until_their_service_has_stopped() -> None:
    specs = list(build(shape=MESH).values())
    assert "gateway@us-west-2" in dependents("envoy-gateway@us-west-2", specs)
    assert "gateway@us-west-2" in dependents("envoy-session@us-west-2", specs)
    assert "gateway@us-west-2" in dependents("front", specs)
    assert "gateway@us-west-2" not in dependents("envoy-gateway@us-east-1", specs)
    assert "envoy-triton@us-west-2" in dependents("control@us-west-2", specs)


def test_a_region_opens_its_ingress_when_its_services_are_ready_and_closes_it_after_they_stopped() -> None:
    specs = build(shape=MESH)
    assert {"gateway@us-west-2", "policy@us-west-2"} <= set(specs["ingress@us-west-2"].after)
    assert set(specs["front"].after) == {"ingress@us-west-2", "ingress@us-east-1"}
    assert "gateway@us-west-2" in dependents("ingress@us-west-2", list(specs.values()))


def test_each_triton_has_names_of_its_own_in_shared_memory() -> None:
    specs = build(shape=MESH)
    assert specs["triton@us-west-2"].shm_prefix != specs["triton@us-east-1"].shm_prefix


def test_settings_may_be_for_a_program_everywhere_or_in_one_region() -> None:
    env = {"gateway": {"CAUSEWAY_A": "1", "CAUSEWAY_B": "1"}, "gateway@us-east-1": {"CAUSEWAY_B": "2"}}
    specs = build(shape=MESH, env=env)
    assert specs["gateway@us-west-2"].env["CAUSEWAY_B"] == "1"
    assert specs["gateway@us-east-1"].env["CAUSEWAY_A"] == "1"
    assert specs["gateway@us-east-1"].env["CAUSEWAY_B"] == "2"


def test_what_a_service_uses_is_stopped_after_it() -> None:
    specs = list(build().values())
    assert set(dependents("triton", specs)) == {"watchdog", "retrieval", "indexer", "gateway"}
    assert "migrations" in dependents("postgres", specs)
    assert dependents("gateway", specs) == []

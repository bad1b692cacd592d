"""Who gets nothing from a control plane, and what may be asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import xds_json
from support.ads_envoy import eventually
from support.mesh_control import REGION, Control, Mesh

from mesh.ir.view import ProxyKind
from mesh.pki import bootstrap
from mesh.pki.bootstrap import IdentityFiles
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity
from mesh.xds.protos import ads_pb2_grpc, base_pb2, discovery_pb2
from mesh.xds.resources import CLUSTER, SECRET
from mesh.xds.server import Limits


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    mesh = Mesh(tmp_path)
    for name in "ab":
        mesh.resources(name, CDS=[xds_json.cluster(f"of-{name}")], EDS=[xds_json.endpoints(f"of-{name}", 1)])
    return mesh


@pytest.fixture
async def control(mesh: Mesh) -> AsyncIterator[Control]:
    async with mesh.control() as control:
        yield control


def channel(control: Control, identity: Path) -> grpc.aio.Channel:
    files = IdentityFiles(identity)
    credentials = grpc.ssl_channel_credentials(
        files.trust.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
    return grpc.aio.secure_channel(control.address, credentials)


async def first(channel: grpc.aio.Channel, node: str, type_url: str = CLUSTER, *names: str) -> Any:
    """The first answer on a delta stream."""
    stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
    request = discovery_pb2.DeltaDiscoveryRequest(
        node=base_pb2.Node(id=node), type_url=type_url, resource_names_subscribe=names
    )
    async with channel:
        call = stub.DeltaAggregatedResources()
        await call.write(request)
        answer = await asyncio.wait_for(call.read(), 5.0)
        call.cancel()
        return answer


def code(error: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> grpc.StatusCode:
    status: grpc.StatusCode = error.value.code()
    return status


async def test_each_gets_its_own_view_and_its_own_secrets(mesh: Mesh, control: Control) -> None:
    secrets = []
    for name in "ab":
        answer = await first(channel(control, mesh.identity(name)), mesh.node(name))
        assert [resource.name for resource in answer.resources] == [f"of-{name}"]
        answer = await first(
            channel(control, mesh.identity(name)), mesh.node(name), SECRET, "default", "kubernetes://other"
        )
        assert [resource.name for resource in answer.resources] == ["default"]
        assert list(answer.removed_resources) == ["kubernetes://other"]
        secrets.append(answer.resources[0].resource.value)
    assert secrets[0] != secrets[1]


async def test_a_fault_in_reading_manifests_is_told_and_ends_nothing(mesh: Mesh, control: Control) -> None:
    """Whoever makes the manifests right must be heard, whatever has become of the reader meanwhile."""
    version = control.manifests.version
    mesh.steps.read_fails = RuntimeError("nobody thought of this")
    mesh.resources("a", CDS=[xds_json.cluster("new")], EDS=[xds_json.endpoints("new", 1)])

    async def told() -> bool:
        return [problem.message for problem in control.manifests.problems] == [
            "cannot be used, by a fault of the control plane: RuntimeError: nobody thought of this"
        ]

    await eventually(told, what="the report")
    assert (control.manifests.version, control.manifests.last_good) == (version, True)
    answer = await first(channel(control, mesh.identity("a")), mesh.node("a"))
    assert [resource.name for resource in answer.resources] == ["of-a"]
    mesh.steps.read_fails = None
    mesh.resources("a", CDS=[xds_json.cluster("newer")], EDS=[xds_json.endpoints("newer", 1)])

    async def well() -> bool:
        return not control.manifests.problems and control.manifests.version != version

    await eventually(well, what="the next manifests")


async def test_anothers_node_id_is_refused(mesh: Mesh, control: Control) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(channel(control, mesh.identity("a")), mesh.node("b"))
    assert code(error) is grpc.StatusCode.PERMISSION_DENIED
    assert error.value.details() == "spiffe://cluster.local/ns/causeway/sa/a has no workload causeway/b"


async def test_a_workload_of_the_same_name_in_another_namespace_is_another(
    mesh: Mesh, control: Control
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(channel(control, mesh.identity("a", namespace="elsewhere")), mesh.node("a"))
    assert code(error) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("node", ["", "nonsense", "sidecar~127.0.0.1~nobody.causeway~x"])
async def test_a_node_that_nobody_knows_is_refused(mesh: Mesh, control: Control, node: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(channel(control, mesh.identity("a")), node)
    assert code(error) is grpc.StatusCode.PERMISSION_DENIED


async def test_plaintext_is_refused(mesh: Mesh, control: Control) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(grpc.aio.insecure_channel(control.address), mesh.node("a"))
    assert code(error) is grpc.StatusCode.UNAVAILABLE


async def test_a_client_without_a_certificate_is_refused(mesh: Mesh, control: Control) -> None:
    trust = IdentityFiles(mesh.identity("a")).trust.read_bytes()
    plain = grpc.aio.secure_channel(control.address, grpc.ssl_channel_credentials(trust))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(plain, mesh.node("a"))
    assert code(error) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_mesh_is_refused(mesh: Mesh, control: Control, tmp_path: Path) -> None:
    other = RootAuthority(tmp_path / "other", "cluster.local")
    other.open_or_create()
    other.ensure_region("us-west-2")
    folder = tmp_path / "foreign"
    authority = RegionalAuthority.open(tmp_path / "other", "us-west-2")
    bootstrap.ensure(authority, Identity("causeway", "a"), folder)
    IdentityFiles(folder).trust.write_bytes(IdentityFiles(mesh.identity("a")).trust.read_bytes())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(channel(control, folder), mesh.node("a"))
    assert code(error) is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_ends_with_the_certificate_it_was_opened_with(mesh: Mesh, control: Control) -> None:
    folder = mesh.folder / "short"
    authority = RegionalAuthority.open(mesh.pki, "us-west-2")
    bootstrap.ensure(authority, Identity("causeway", "a"), folder, life=timedelta(seconds=2))
    connected = channel(control, folder)
    async with connected:
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(connected).DeltaAggregatedResources()
        await call.write(
            discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id=mesh.node("a")), type_url=CLUSTER)
        )
        assert await call.read() is not grpc.aio.EOF
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asyncio.wait_for(call.read(), 5.0)
    assert code(error) is grpc.StatusCode.UNAVAILABLE
    assert "expired" in (error.value.details() or "")


async def test_a_request_beyond_the_limit_is_refused_before_it_is_read(mesh: Mesh, control: Control) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(channel(control, mesh.identity("a")), mesh.node("a"), CLUSTER, "x" * (17 << 20))
    assert code(error) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_many_names_end_the_stream(mesh: Mesh, control: Control) -> None:
    names = [str(number) for number in range(20_001)]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first(channel(control, mesh.identity("a")), mesh.node("a"), CLUSTER, *names)
    assert code(error) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_tells_whether_there_is_anything_to_serve(mesh: Mesh) -> None:
    (mesh.manifests / "proxies.json").write_text("{")
    async with mesh.control() as control:
        request = health_pb2.HealthCheckRequest()
        async with channel(control, mesh.identity("a")) as connected:
            stub = health_pb2_grpc.HealthStub(connected)
            assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await first(channel(control, mesh.identity("a")), mesh.node("a"))
            assert code(error) is grpc.StatusCode.UNAVAILABLE
            mesh.write("proxies", {"proxies": [{"name": "a"}]})

            async def serving() -> bool:
                answer = await stub.Check(request)
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            await eventually(serving, what="health")
        await first(channel(control, mesh.identity("a")), mesh.node("a"))


async def test_a_client_without_a_proxy_gets_the_view_of_its_workload_without_secrets(
    mesh: Mesh, control: Control
) -> None:
    node = mesh.node("a", ProxyKind.PROXYLESS)
    answer = await first(channel(control, mesh.identity("a")), node, SECRET, "default")
    assert list(answer.removed_resources) == ["default"]


async def test_the_control_plane_itself_changes_over_to_a_new_root(mesh: Mesh, control: Control) -> None:
    old = mesh.identity("a")
    mesh.root.introduce()
    mesh.root.switch()

    async def changed() -> bool:
        # A client that trusts nothing but the new root, and has a certificate of it.
        fresh = mesh.identity("a")
        bundle = IdentityFiles(fresh).trust.read_bytes()
        newest = bundle[bundle.rindex(b"-----BEGIN") :]
        files = IdentityFiles(fresh)
        credentials = grpc.ssl_channel_credentials(
            newest, files.key.read_bytes(), files.certificate.read_bytes()
        )
        try:
            await first(grpc.aio.secure_channel(control.address, credentials), mesh.node("a"))
        except grpc.aio.AioRpcError:
            return False
        return True

    assert old == mesh.identity("a")
    await eventually(changed, what="a control plane of the new root")


async def test_a_proxy_of_another_region_is_sent_home_after_a_while_and_no_other(mesh: Mesh) -> None:
    """This control plane has another region's manifests than the proxy should have."""
    mesh.write(
        "proxies", {"proxies": [{"name": "a", "region": "us-east-1"}, {"name": "b", "region": REGION}]}
    )
    request = discovery_pb2.DeltaDiscoveryRequest
    async with (
        mesh.control(limits=Limits(visit=0.5)) as control,
        channel(control, mesh.identity("a")) as away,
        channel(control, mesh.identity("b")) as here,
    ):
        visitor, native = (
            ads_pb2_grpc.AggregatedDiscoveryServiceStub(one).DeltaAggregatedResources()
            for one in (away, here)
        )
        await native.write(request(node=base_pb2.Node(id=mesh.node("b")), type_url=CLUSTER))
        assert (await native.read()).resources
        await visitor.write(request(node=base_pb2.Node(id=mesh.node("a")), type_url=CLUSTER))
        # It is served meanwhile: without its own control plane there is no better one.
        assert [resource.name for resource in (await visitor.read()).resources] == ["of-a"]
        assert await asyncio.wait_for(visitor.code(), 10.0) is grpc.StatusCode.UNAVAILABLE
        assert await visitor.details() == "the control plane of us-east-1 comes first"
        # The other came first, and its stream is as good as new.
        await native.write(request(type_url=SECRET, resource_names_subscribe=["default"]))
        answer = await asyncio.wait_for(native.read(), 5.0)
        assert [resource.name for resource in answer.resources] == ["default"]
        assert not native.done()
        native.cancel()

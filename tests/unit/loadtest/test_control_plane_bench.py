"""The meshes that `causeway bench control-plane` makes up, and the client that it asks with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loadtest.bench import control_plane_site as sites
from loadtest.bench.control_plane_client import AdsClient, authority
from loadtest.bench.control_plane_site import SERVICES, Site
from loadtest.bench.peers.control_plane_full import STEPS, measure
from mesh.control.app import ControlPlane
from mesh.control.config import MeshConfig
from mesh.control.wiring import pipeline
from mesh.local.layout import Layout
from mesh.manifests.read import read
from mesh.resolve import index, proxies, resolve
from services.common.config import Address


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return sites.build(Layout(tmp_path), 2 * SERVICES)


def test_every_workload_has_a_proxy_that_sees_every_service(site: Site) -> None:
    found = index(read(site.sources))
    all_of_them = proxies(found)
    assert len(all_of_them) == site.workloads
    services = {cluster.service for cluster in resolve(found, all_of_them[0]).clusters if cluster.service}
    assert len(services) >= SERVICES


def test_a_sidecar_narrows_what_a_proxy_sees(tmp_path: Path) -> None:
    scoped = sites.build(Layout(tmp_path), SERVICES, scoped=True)
    found = index(read(scoped.sources))
    view = resolve(found, proxies(found)[0])
    outbound = [cluster for cluster in view.clusters if cluster.name.startswith("outbound|")]
    assert len(outbound) == sites.CALLED


def test_a_change_concerns_one_address_of_one_file(site: Site) -> None:
    before = read(site.sources)
    address = site.write_workloads(7, version=1)
    after = read(site.sources, former=before)
    changed = [one for one, other in zip(after.all, before.all, strict=True) if one != other]
    assert [manifest.name for manifest in changed] == [sites.workload_name(7, 1)]
    assert getattr(changed[0].spec, "address", "") == address


def test_addresses_are_all_different() -> None:
    found = {sites.address_of(service, number) for service in range(SERVICES) for number in range(50)}
    assert len(found) == SERVICES * 50
    assert sites.address_of(3, 1, 1) != sites.address_of(3, 1, 2)


def test_a_whole_translation_tells_the_time_of_every_step(site: Site) -> None:
    found = measure(list(site.sources))
    assert found["proxies"] == site.workloads
    assert set(found["seconds"]) == set(STEPS)
    assert found["total"] == pytest.approx(sum(found["seconds"].values()))


async def test_the_client_hears_of_a_change_and_is_known_to_have_acknowledged_it(site: Site) -> None:
    config = MeshConfig(
        listen=Address("127.0.0.1", site.port),
        region=sites.REGIONS[0],
        manifests=",".join(str(path) for path in site.sources),
        pki=site.layout.pki,
        status=site.layout.home / "status.json",
        drain=timedelta(0),
    )
    async with ControlPlane(config, pipeline()) as control, AdsClient(site, authority(site), 0, 0) as client:
        assert client.endpoints == SERVICES
        for version in (1, 2):
            arrival = await client.seen([site.write_workloads(5, version)])
            assert arrival.received < arrival.acknowledged
        (report,) = control.servicer.reports()
        assert not report.streams[0].rejections

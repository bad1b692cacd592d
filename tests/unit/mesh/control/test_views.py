"""Each proxy has its own view; trouble with one is not trouble for the others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import xds_json

from fakes.clock import FakeClock
from fakes.mesh_pipeline import FakeIndex, FakeManifests, FakeSteps
from mesh.control.identities import Identities, Key
from mesh.control.pipeline import BadManifests, Problem
from mesh.control.views import Views
from mesh.ir.view import Proxy, ProxyKind
from mesh.pki.gateways import GatewayCertificates
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.xds.nodes import NotReady, Refused, node_id
from mesh.xds.resources import CLUSTER, ENDPOINTS, SECRET


class Mesh:
    """Two proxies, and what they are given."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.pki = folder / "pki"
        self.root = RootAuthority(self.pki, "cluster.local", self.clock)
        self.root.open_or_create()
        self.root.ensure_region("r")
        authority = RegionalAuthority.open(self.pki, "r", clock=self.clock)
        self.identities = Identities(authority, self.pki, "r", timedelta(hours=1))
        self.steps = FakeSteps()
        self.views: Views[FakeManifests, FakeIndex] = Views(self.steps.pipeline(), self.identities)
        self.gone: list[Key] = []
        self.document: dict[str, Any] = {
            "proxies": [{"name": "a"}, {"name": "b"}],
            "resources": {name: self.resources(1) for name in "ab"},
        }

    @staticmethod
    def resources(port: int) -> dict[str, Any]:
        return {"CDS": [xds_json.cluster("c")], "EDS": [xds_json.endpoints("c", port)]}

    async def apply(self) -> None:
        document = json.loads(json.dumps(self.document))
        index = self.steps.index(FakeManifests({}, [document]), None)
        await self.views.update(index, self.gone.append)

    def proxy(self, name: str) -> Proxy:
        return self.views.proxies["causeway", name]


@pytest.fixture
async def mesh(tmp_path: Path) -> Mesh:
    mesh = Mesh(tmp_path)
    await mesh.apply()
    return mesh


async def test_before_there_is_a_configuration_nobody_is_anybody(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    with pytest.raises(NotReady):
        mesh.views.authorise("sidecar~1.1.1.1~a.causeway~x", "spiffe://cluster.local/ns/causeway/sa/a")


async def test_a_view_is_made_when_somebody_asks_and_again_when_it_changes(mesh: Mesh) -> None:
    assert mesh.steps.translated == []
    with mesh.views.watch(mesh.proxy("a")) as watch:
        assert mesh.steps.translated == ["a"]
        before = watch.snapshot
        assert before is not None
        mesh.document["resources"]["a"] = mesh.resources(2)
        await mesh.apply()
        assert watch.changed.is_set()
        assert watch.snapshot is not None
        assert watch.snapshot.versions(ENDPOINTS) != before.versions(ENDPOINTS)
        assert watch.snapshot.versions(CLUSTER) is before.versions(CLUSTER)
        assert watch.snapshot.versions(SECRET) is before.versions(SECRET)
    assert "b" not in mesh.steps.translated


async def test_a_change_that_is_not_a_proxys_own_is_not_translated_for_it(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as a, mesh.views.watch(mesh.proxy("b")) as b:
        mesh.steps.translated.clear()
        mesh.document["resources"]["a"] = mesh.resources(2)
        await mesh.apply()
        assert mesh.steps.translated == ["a"]
        assert a.changed.is_set()
        assert not b.changed.is_set()


async def test_a_proxy_that_cannot_be_translated_keeps_what_it_has_and_is_reported(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as a, mesh.views.watch(mesh.proxy("b")) as b:
        good = a.snapshot
        mesh.steps.fail_translation = {"a"}
        for name in "ab":
            mesh.document["resources"][name] = mesh.resources(2)
        await mesh.apply()
        assert a.snapshot is good
        assert b.changed.is_set()
        assert list(mesh.views.problems.values()) == ["ValueError: cannot translate"]
        mesh.steps.fail_translation = set()
        mesh.document["resources"]["a"] = mesh.resources(3)
        await mesh.apply()
        assert a.changed.is_set()
        assert not mesh.views.problems


async def test_a_manifest_by_which_some_proxy_cannot_be_made_changes_nothing_for_anybody(mesh: Mesh) -> None:
    """Connected or not: a proxy that comes later would get nothing."""
    bad = Problem(file="a.yaml", line=7, path="spec.x", message="cannot be applied")
    with mesh.views.watch(mesh.proxy("a")) as a:
        before = a.snapshot
        a.changed.clear()
        mesh.steps.tried, mesh.steps.to_blame = {"b", "c"}, {"b": bad, "c": bad}
        mesh.document["resources"]["a"] = mesh.resources(2)
        mesh.document["proxies"] = [{"name": "b"}, {"name": "c"}]
        with pytest.raises(BadManifests) as raised:
            await mesh.apply()
        assert raised.value.problems == (bad,), "each problem is told once"
        assert a.snapshot is before
        assert not a.changed.is_set()
        assert set(mesh.views.proxies) == {("causeway", "a"), ("causeway", "b")}
        assert not mesh.gone
        mesh.steps.to_blame = {}
        with mesh.views.watch(mesh.proxy("b")) as b:
            assert b.snapshot is not None, "a proxy that comes now is told what the others are"


async def test_what_was_made_as_a_trial_is_not_made_again(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as a:
        mesh.steps.tried = {"a", "b"}
        mesh.steps.translated.clear()
        mesh.document["resources"]["a"] = mesh.resources(2)
        await mesh.apply()
        assert a.changed.is_set()
        assert mesh.steps.translated == ["a", "b"]
        await mesh.apply()
        assert mesh.steps.translated == ["a", "b", "b"], "what is as it was for a connected one is not tried"


async def test_a_trial_that_fails_for_its_own_reasons_keeps_nothing_from_the_others(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as a, mesh.views.watch(mesh.proxy("b")) as b:
        good = a.snapshot
        mesh.steps.tried, mesh.steps.fail_translation = {"a", "b"}, {"a"}
        for name in "ab":
            mesh.document["resources"][name] = mesh.resources(2)
        await mesh.apply()
        assert a.snapshot is good
        assert b.changed.is_set()
        assert list(mesh.views.problems.values()) == ["ValueError: cannot translate"]


async def test_an_inconsistent_view_is_not_sent(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as a:
        good = a.snapshot
        mesh.document["resources"]["a"] = {"CDS": [xds_json.cluster("c")]}
        await mesh.apply()
        assert a.snapshot is good
        (problem,) = mesh.views.problems.values()
        assert "EDS c is missing; CDS c needs it" in problem


async def test_a_proxy_gets_its_own_secrets_and_a_client_without_a_proxy_none(mesh: Mesh) -> None:
    a, b = mesh.proxy("a"), mesh.proxy("b")
    with mesh.views.watch(a) as one, mesh.views.watch(b) as other:
        assert one.snapshot is not None
        assert other.snapshot is not None
        assert set(one.snapshot.versions(SECRET)) == {"default", "ROOTCA"}
        assert one.snapshot.versions(SECRET)["default"] != other.snapshot.versions(SECRET)["default"]
        assert one.snapshot.versions(SECRET)["ROOTCA"] == other.snapshot.versions(SECRET)["ROOTCA"]
    proxyless = mesh.views.authorise(node_id(a).replace("sidecar~", "grpc~"), a.spiffe_id)
    assert proxyless.kind is ProxyKind.PROXYLESS
    with mesh.views.watch(proxyless) as client:
        assert client.snapshot is not None
        assert not client.snapshot.versions(SECRET)


async def test_secrets_are_sent_anew_at_two_thirds_of_their_life(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as watch:
        before = watch.snapshot
        assert before is not None
        mesh.clock.turn(timedelta(minutes=39))
        assert not mesh.identities.renew(mesh.clock())
        mesh.clock.turn(timedelta(minutes=1))
        assert mesh.identities.renew(mesh.clock())
        await mesh.views.renew_secrets()
        assert watch.snapshot is not None
        assert watch.snapshot.versions(SECRET)["default"] != before.versions(SECRET)["default"]
        assert watch.snapshot.versions(SECRET)["ROOTCA"] == before.versions(SECRET)["ROOTCA"]
        assert watch.snapshot.versions(CLUSTER) is before.versions(CLUSTER)


async def test_a_new_root_reaches_everybody_before_anything_is_signed_by_it(mesh: Mesh) -> None:
    with mesh.views.watch(mesh.proxy("a")) as watch:
        seen = [watch.snapshot]
        for step in (mesh.root.introduce, mesh.root.switch):
            step()
            assert mesh.identities.reload()
            await mesh.views.renew_secrets()
            seen.append(watch.snapshot)
        versions = [snapshot.versions(SECRET) for snapshot in seen if snapshot is not None]
        assert versions[0]["ROOTCA"] != versions[1]["ROOTCA"]
        assert versions[0]["default"] == versions[1]["default"]
        assert versions[1]["ROOTCA"] == versions[2]["ROOTCA"]
        assert versions[1]["default"] != versions[2]["default"]


async def test_an_authority_that_is_damaged_while_it_runs_is_reported_and_changes_nothing(mesh: Mesh) -> None:
    before = mesh.identities.authority
    path, _ = RegionalAuthority.files(mesh.pki, "r")
    good = path.read_bytes()
    path.write_bytes(good[:100])
    assert not mesh.identities.reload()
    assert mesh.identities.authority is before
    assert "damaged" in mesh.identities.problems["authority"]
    path.write_bytes(good)
    mesh.identities.reload()
    assert not mesh.identities.problems


async def test_a_gateway_gets_its_credentials_and_without_them_no_new_configuration(mesh: Mesh) -> None:
    mesh.document["proxies"].append({"name": "g", "kind": "router"})
    mesh.document["credentials"] = {"g": ["kubernetes://api"]}
    listener = xds_json.listener("l", 80, "r", mutual_tls=True, identity="kubernetes://api")
    mesh.document["resources"]["g"] = {"LDS": [listener], "RDS": [xds_json.route_table("r", text="hello")]}
    await mesh.apply()
    with mesh.views.watch(mesh.proxy("g")) as watch:
        assert mesh.views.snapshot(mesh.proxy("g")) is None
        (problem,) = mesh.views.problems.values()
        assert "api.pem does not exist" in problem
        gateways = GatewayCertificates(mesh.pki, "r", mesh.clock)
        gateways.ensure("api", ["api.causeway.local"])
        await mesh.apply()
        assert watch.snapshot is not None
        first = watch.snapshot.versions(SECRET)["kubernetes://api"]
        mesh.clock.turn(timedelta(days=20))
        assert mesh.identities.renew(mesh.clock())
        await mesh.views.renew_secrets()
        assert watch.snapshot.versions(SECRET)["kubernetes://api"] != first


async def test_a_workload_that_is_gone_or_changes_its_identity_is_shown_the_door(mesh: Mesh) -> None:
    a = mesh.proxy("a")
    with mesh.views.watch(a):
        mesh.document["proxies"] = [{"name": "a", "service_account": "other"}]
        await mesh.apply()
    assert {(kind, name) for kind, _, name in mesh.gone} == {
        (ProxyKind.SIDECAR, "a"),
        (ProxyKind.PROXYLESS, "a"),
        (ProxyKind.SIDECAR, "b"),
        (ProxyKind.PROXYLESS, "b"),
    }
    with pytest.raises(Refused):
        mesh.views.authorise(node_id(a), a.spiffe_id)

"""What happens to traffic when the control plane is told nonsense, refused, killed, or not there at all."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import Load
from support.mesh_manifests import EAST, WEST, Instance, host, yaml
from support.mesh_processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLER = Instance(name="caller", app="caller")
ONE = Instance(name="one", app="echo")
TWO = Instance(name="two", app="echo", version="v2", region=EAST)
ECHO = host("echo")
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
SUBSETS = "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]"
RULE = yaml("DestinationRule", "echo", f"host: {ECHO}\n{SUBSETS}")


def to(subset: str) -> str:
    spec = f"hosts: [{ECHO}]\nhttp: [{{route: [{{destination: {{host: {ECHO}, subset: {subset}}}}}]}}]"
    return yaml("VirtualService", "echo", spec)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("control"), [CALLER, ONE, TWO], [WEST, EAST]) as mesh:
        yield mesh


async def problems(mesh: Mesh) -> list[Any]:
    """What the control plane says is wrong with the manifests, once it says so."""

    async def said() -> bool:
        return bool(mesh.control.status()["manifests"]["problems"])

    await eventually(said, "the report of a bad file")
    found: list[Any] = mesh.control.status()["manifests"]["problems"]
    return found


@pytest.mark.parametrize(
    "bad, line, words",
    [
        ("kind: [\n", 2, "is not YAML"),
        (to("v2").replace("route:", "rout:"), 6, "rout"),
        (to("v2").replace("http: [", "http: [{timeout: soon, route: []}, "), 6, "timeout"),
        ("a: &a [x]\nb: [*a, *a]\n", 1, "anchors"),
        ("[" * 5000, 1, ""),
    ],
)
async def test_a_bad_manifest_changes_nothing_and_is_reported_with_its_place(
    mesh: Mesh, bad: str, line: int, words: str
) -> None:
    await mesh.apply(STRICT, RULE, to("v1"))
    assert await mesh.client("caller").who() == "one"
    version = mesh.control.status()["manifests"]["version"]
    mesh.write("bad", bad)
    try:
        found = await problems(mesh)
        assert found[0]["file"].endswith("bad.yaml")
        assert abs(found[0]["line"] - line) <= 1
        assert words in f"{found[0]['path']} {found[0]['message']}"
        # A good change beside the bad one waits for it: half of what was meant is not what was meant.
        mesh.write("test", STRICT, RULE, to("v2"))
        written = time.time()

        async def read() -> bool:
            return bool(mesh.control.status()["manifests"]["read"] >= written)

        await eventually(read, "a look at the files")
        status = mesh.control.status()["manifests"]
        assert (status["version"], status["last_good"]) == (version, True)
        assert await mesh.client("caller").many(20) == {"one": 20}
    finally:
        (mesh.manifests / "bad.yaml").unlink()

    async def moved() -> bool:
        return await mesh.client("caller").who() == "two"

    await eventually(moved, "the good change, once the bad file is gone")

    async def good() -> bool:
        return not mesh.control.status()["manifests"]["problems"]

    await eventually(good, "the end of the report")


async def test_what_an_envoy_refuses_is_shown_with_its_reason_and_all_else_arrives(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RULE, to("v1"))
    # Well formed, so that it can be sent; only an Envoy knows that it cannot be.
    refused = yaml(
        "EnvoyFilter",
        "refused",
        """
        workloadSelector: {labels: {app: caller}}
        configPatches:
        - applyTo: CLUSTER
          patch:
            operation: ADD
            value:
              name: impossible
              type: STATIC
              connect_timeout: 1s
              load_assignment:
                cluster_name: impossible
                endpoints:
                - lb_endpoints:
                  - endpoint: {address: {socket_address: {address: not-an-address, port_value: 1}}}
        """,
    )
    mesh.write("test", STRICT, RULE, to("v2"), refused)

    async def told() -> bool:
        return bool(mesh.report(CALLER)["state"] == "nacked")

    await eventually(told, "the report of what was refused")
    rejections = mesh.report(CALLER)["streams"][0]["rejections"]
    assert [(item["type"], item["resource"]) for item in rejections] == [("CDS", "impossible")]
    assert "not-an-address" in rejections[0]["reason"]
    assert mesh.report(ONE)["state"] == "synced"

    async def moved() -> bool:
        return await mesh.client("caller").who() == "two"

    await eventually(moved, "the valid part of the change")
    await mesh.apply(STRICT, RULE, to("v1"))
    assert mesh.report(CALLER)["streams"][0]["rejections"] == []
    assert await mesh.client("caller").who() == "one"


async def test_an_envoy_that_refuses_a_new_version_keeps_the_one_it_has(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RULE, to("v1"))
    patch = yaml(
        "EnvoyFilter",
        "refused",
        f"""
        workloadSelector: {{labels: {{app: caller}}}}
        configPatches:
        - applyTo: CLUSTER
          match: {{cluster: {{service: {ECHO}, subset: v1}}}}
          patch:
            operation: MERGE
            value: {{lb_policy: CLUSTER_PROVIDED}}
        """,
    )
    mesh.write("test", STRICT, RULE, to("v1"), patch)

    async def told() -> bool:
        return bool(mesh.report(CALLER)["state"] == "nacked")

    await eventually(told, "the report of what was refused")
    rejection = mesh.report(CALLER)["streams"][0]["rejections"][0]
    assert rejection["resource"] == f"outbound|8080|v1|{ECHO}"
    assert rejection["using"], "the last good version"
    assert await mesh.client("caller").many(20) == {"one": 20}


async def test_without_a_control_plane_calls_go_on_and_changes_come_when_it_is_back(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RULE, to("v1"))
    async with Load(mesh.client("caller"), each=0.02) as load:
        for control in mesh.controls.values():
            control.kill()
        killed = time.monotonic()
        mesh.write("test", STRICT, RULE, to("v2"))

        async def enough() -> bool:
            return load.counts(killed)["one"] >= 50

        await eventually(enough, "calls without a control plane")
        assert set(load.counts(killed)) == {"one"}
        for control in mesh.controls.values():
            control.start()
        began = time.monotonic()

        async def moved() -> bool:
            return load.counts(time.monotonic() - 0.2)["two"] > 0

        took = await eventually(moved, "the change")
    assert set(load.counts(killed)) == {"one", "two"}, f"not one failed in {began - killed + took:.1f} s"
    await mesh.settled()


async def test_a_proxy_that_starts_while_its_control_plane_is_dead_asks_another(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RULE, to("v1"))
    first = mesh.asks(CALLER)
    first.kill()
    mesh.proxies["caller"].kill()
    mesh.proxies["caller"].start()
    await eventually(lambda: served_by(mesh, "one"), "calls by a proxy that began without it")
    second = mesh.asks(CALLER)
    assert second is not first
    mesh.write("test", STRICT, RULE, to("v2"))
    await eventually(lambda: served_by(mesh, "two"), "a change by the other control plane")
    first.start()

    async def up() -> bool:
        return bool(first.status()["manifests"]["version"])

    await eventually(up, "its return")

    async def home() -> bool:
        return mesh.asks(CALLER) is first and mesh.report(CALLER)["state"] == "synced"

    await eventually(home, "the way back, though the other one still serves")
    second.kill()
    mesh.write("test", STRICT, RULE, to("v1"))
    await eventually(lambda: served_by(mesh, "one"), "a change by the first")
    second.start()
    await mesh.settled()


async def served_by(mesh: Mesh, name: str) -> bool:
    return await mesh.client("caller").who(timeout=2.0) == name


async def test_a_proxy_that_dies_and_returns_is_as_it_was(mesh: Mesh) -> None:
    await mesh.apply(STRICT, RULE, to("v1"))
    for name in ("caller", "one"):
        mesh.proxies[name].kill()
        mesh.proxies[name].start()
        await eventually(lambda: served_by(mesh, "one"), f"calls after {name} was killed")

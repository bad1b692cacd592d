"""`python -m mesh.control` as it is run: from Istio's manifests to calls between two sidecars."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.ads_envoy import eventually
from support.control_process import HOST, REGION, Region, application, both_synced, call, states

from mesh.local import sync
from mesh.local.layout import Layout


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def test_manifests_become_calls_and_calls_survive_the_control_plane(
    region: Region, stack: ExitStack
) -> None:
    async with application() as port:
        region.write(port)
        async with region.control() as process:
            for name in region.addresses:
                region.envoy(stack, name)
            await eventually(lambda: call(region), what="a call through both sidecars")
            await eventually(lambda: both_synced(region), what="synced")

            region.replace("bad.yaml", "kind: VirtualService\nspec: {hosts: [x], nonsense: 1}\n")

            async def reported() -> bool:
                return bool(region.status()["manifests"]["problems"])

            await eventually(reported, what="the report of a bad file")
            problem = region.status()["manifests"]["problems"][0]
            assert problem["file"].endswith("bad.yaml")
            assert problem["line"] > 0
            assert region.status()["manifests"]["last_good"]
            assert await call(region)
            (region.manifests / "bad.yaml").unlink()

            async def good() -> bool:
                return not region.status()["manifests"]["problems"]

            await eventually(good, what="the end of the report")
            process.kill()
            await process.wait()
        assert await call(region), "calls go on without a control plane"
        (region.folder / "status.json").unlink()
        region.write(port, timeout="6s")
        async with region.control() as process:
            took = await eventually(lambda: both_synced(region), what="synced again")
            assert await call(region)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 5.0) == 0
    # The process has to start as well, here beside other tests; a drill has the exact figure.
    assert took < 8.0


async def test_the_status_speaks_of_proxies_that_come_go_and_never_came(
    region: Region, stack: ExitStack
) -> None:
    layout = Layout(region.folder)
    path = layout.control_status(REGION)
    path.parent.mkdir(parents=True)
    region.write(1)

    async def reads(**wanted: str) -> bool:
        found = sync.read(layout, [REGION]).proxies
        said = {name.partition("@")[0]: item.state for name, item in found.items()}
        return said == {f"envoy-{name}": state for name, state in wanted.items()}

    async with region.control(CAUSEWAY_MESH_STATUS=str(path)) as process:
        await eventually(lambda: reads(caller="absent", echo="absent"), what="a control plane alone")
        with ExitStack() as running:
            region.envoy(running, "caller")
            await eventually(lambda: reads(caller="synced", echo="absent"), what="one proxy")
            region.envoy(stack, "echo")
            await eventually(lambda: reads(caller="synced", echo="synced"), what="both")
            assert sync.read(layout, [REGION]).synced
        await eventually(lambda: reads(caller="stale", echo="synced"), what="one gone")
        assert not sync.read(layout, [REGION]).synced
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5.0) == 0


EXTRA = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: extra, namespace: istio-system}}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {{context: {context}}}
    patch:
      operation: {operation}
      value: {value}
"""
BAD_FILTERS = {
    "no such field": (
        {"context": "ANY", "operation": "MERGE", "value": "{no_such_field: 1}"},
        10,
        "spec.configPatches[0].patch.value.no_such_field",
        "envoy.config.cluster.v3.Cluster has no field no_such_field",
    ),
    "there already, on one of the two": (
        {"context": "SIDECAR_OUTBOUND", "operation": "ADD", "value": f"{{name: outbound|8080||{HOST}}}"},
        6,
        "spec.configPatches[0]",
        f"there is a CLUSTER outbound|8080||{HOST} already",
    ),
}


@pytest.mark.parametrize("said, line, path, words", BAD_FILTERS.values(), ids=BAD_FILTERS.keys())
async def test_an_envoy_filter_that_cannot_be_applied_changes_nothing(
    region: Region, stack: ExitStack, said: dict[str, str], line: int, path: str, words: str
) -> None:
    """Whether reading shows it or only a proxy's translation: the last good manifests stay, for proxies that
    are connected, for one that comes later, and on disk."""
    async with application() as port:
        region.write(port)
        async with region.control():
            region.envoy(stack, "caller")
            await eventually(lambda: told(region, "kept"), what="the copy of the good manifests")
            await eventually(lambda: state(region, "caller", "synced"), what="synced")
            good = region.status()["manifests"]

            region.replace("filter.yaml", EXTRA.format(**said))
            await eventually(lambda: told(region, "problems"), what="the report of a bad filter")
            # What was good in the same folder waits with it.
            region.write(port, timeout="6s")
            (problem,) = region.status()["manifests"]["problems"]
            assert problem["file"].endswith("filter.yaml")
            assert (problem["line"], problem["path"]) == (line, path)
            assert words in problem["message"]
            assert region.status()["manifests"]["last_good"]
            assert region.status()["manifests"]["version"] == good["version"]
            assert all(not proxy["problem"] for proxy in region.status()["proxies"])

            region.envoy(stack, "echo")
            await eventually(lambda: call(region), what="a call to a proxy that came later")
            await eventually(lambda: both_synced(region), what="synced")
        (region.folder / "status.json").unlink()
        async with region.control():
            await eventually(lambda: both_synced(region), what="synced, from the copy")
            manifests = region.status()["manifests"]
            assert (manifests["version"], manifests["last_good"]) == (good["version"], True)
            (region.manifests / "filter.yaml").unlink()
            await eventually(lambda: not_told(region, "problems"), what="the end of the report")
            assert not region.status()["manifests"]["last_good"]
            assert region.status()["manifests"]["version"] != good["version"]
            assert await call(region)


async def told(region: Region, what: str) -> bool:
    """Whether the control plane says something of the manifests."""
    return (region.folder / "status.json").exists() and bool(region.status()["manifests"][what])


async def not_told(region: Region, what: str) -> bool:
    return not await told(region, what)


async def state(region: Region, name: str, wanted: str) -> bool:
    return states(region)[name] == wanted


async def test_a_control_plane_that_starts_with_a_bad_file_uses_the_last_good_manifests(
    region: Region, stack: ExitStack
) -> None:
    async with application() as port:
        region.write(port)
        async with region.control():

            async def kept() -> bool:
                return (region.folder / "status.json").exists() and bool(region.status()["manifests"]["kept"])

            await eventually(kept, what="the copy of the good manifests")
        good = region.status()["manifests"]["version"]
        region.replace("bad.yaml", "kind: [\n")
        (region.folder / "status.json").unlink()
        async with region.control():
            for name in region.addresses:
                region.envoy(stack, name)
            await eventually(lambda: call(region), what="a call")
            await eventually(lambda: both_synced(region), what="synced")
            manifests = region.status()["manifests"]
            assert manifests["last_good"]
            assert manifests["version"] == good
            assert manifests["problems"][0]["file"].endswith("bad.yaml")


@pytest.mark.parametrize(
    "settings, code, words",
    [
        ({"CAUSEWAY_MESH_REGION": "eu-north-1"}, 1, "regions/eu-north-1/authority.pem does not exist"),
        ({"CAUSEWAY_MESH_LISTEN": "nonsense"}, 2, "CAUSEWAY_MESH_LISTEN"),
        ({"CAUSEWAY_MESH_MANIFESTS": " , "}, 2, "CAUSEWAY_MESH_MANIFESTS"),
        ({"CAUSEWAY_MESH_COLOUR": "red"}, 2, "CAUSEWAY_MESH_COLOUR"),
        ({"CAUSEWAY_LOG_LEVEL": "loud"}, 2, "loud"),
    ],
)
async def test_wrong_settings_end_it_with_a_sentence(
    region: Region, settings: dict[str, str], code: int, words: str
) -> None:
    region.write(1)
    async with region.control(**settings) as process:
        assert await asyncio.wait_for(process.wait(), 20.0) == code
    said = (region.folder / "control.log").read_text()
    assert words in said
    assert "Traceback" not in said

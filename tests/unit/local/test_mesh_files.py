"""What the mesh's processes are told, as plain data and as files."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mesh.local import addresses, envoy, proxyless, services, topology_files, yaml_writer
from mesh.local.addresses import Network
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.mesh_files import MeshFiles
from mesh.local.names import DataPlane, Shape
from mesh.local.plan import Plan
from mesh.local.settings import Settings
from mesh.local.spec import SetupError
from mesh.local.workloads import Role, Workload, address_names

REGIONS = ("us-west-2", "us-east-1")


def make_plan(plane: DataPlane = DataPlane.SIDECAR, regions: tuple[str, ...] = REGIONS) -> Plan:
    shape = Shape(regions, plane)
    ports = {name: 20000 + index for index, name in enumerate(shape.port_names())}
    return Plan(shape, ports, Network("127.66.1", {n: 2 + i for i, n in enumerate(address_names(shape))}))


PLAN = make_plan()


def workload(app: str, region: str = "us-west-2") -> Workload:
    return next(item for item in PLAN.workloads if (item.app, item.region) == (app, region))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "home")
    layout.create()
    Issuer(layout).publish()
    return layout


def test_a_proxy_prefers_its_own_regions_control_plane_and_knows_the_others() -> None:
    west, east = (f"{PLAN.address('control', region)}:{addresses.XDS}" for region in REGIONS)
    assert PLAN.control_planes("us-west-2") == (west, east)
    assert PLAN.control_planes("us-east-1") == (east, west)
    assert PLAN.control_planes("") == (west, east)


def test_a_proxy_is_called_as_istio_calls_it() -> None:
    address = PLAN.address("session", "us-west-2")
    assert workload("session").node_id == (
        f"sidecar~{address}~session-us-west-2.causeway~causeway.svc.cluster.local"
    )
    assert workload("ingress").node_id.startswith("router~")
    assert workload("front", "").identity.uri == "spiffe://cluster.local/ns/causeway-front/sa/front"


def test_the_indexer_acts_as_the_service_it_belongs_to() -> None:
    assert workload("indexer").identity == workload("retrieval").identity


def test_no_two_workloads_share_an_address() -> None:
    found = [item.address for item in PLAN.workloads]
    assert len(set(found)) == len(found)


def test_an_envoys_own_interface_is_on_its_own_loopback_address(tmp_path: Path) -> None:
    document = json.loads(json.dumps(envoy.bootstrap(workload("gateway"), ("127.66.1.3:15012",), tmp_path)))
    admin = document["admin"]["address"]["socket_address"]
    assert admin == {"address": PLAN.address("gateway", "us-west-2"), "port_value": addresses.ADMIN}


def test_an_envoy_waits_for_its_configuration_without_a_limit(tmp_path: Path) -> None:
    document = envoy.bootstrap(workload("gateway"), ("127.66.1.3:15012",), tmp_path)
    dynamic = json.loads(json.dumps(document["dynamic_resources"]))
    assert {dynamic[key]["initial_fetch_timeout"] for key in ("cds_config", "lds_config")} == {"0s"}
    assert dynamic["ads_config"]["api_type"] == "DELTA_GRPC"


def test_yaml_that_is_written_reads_as_what_it_was() -> None:
    text = yaml_writer.documents([{"a": {"b": ["x", {"c": 1, "d": []}], "on": "yes", "e/f": {}}, "g": True}])
    assert text == ('a:\n  b:\n  - "x"\n  - c: 1\n    d: []\n  "on": "yes"\n  "e/f": {}\ng: true\n')


def test_a_region_that_drains_is_marked_and_no_other() -> None:
    calm = topology_files.render(PLAN.workloads, "https://issuer", "{}")
    draining = topology_files.render(PLAN.workloads, "https://issuer", "{}", ["us-east-1"])
    changed = {name for name in calm if calm[name] != draining[name]}
    assert changed == {"workloads-us-east-1.yaml"}
    assert draining["workloads-us-east-1.yaml"].count('"istio.io/draining": "true"') == 7


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    files = topology_files.render(PLAN.workloads, "https://issuer", "{}")
    assert set(topology_files.write(tmp_path, files)) == set(files)
    (tmp_path / "workloads-gone.yaml").write_text("old")
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.yaml")}
    files["services.yaml"] += "# more\n"
    assert topology_files.write(tmp_path, files) == ["services.yaml", "workloads-gone.yaml"]
    after = {path.name: path.stat().st_ino for path in tmp_path.glob("*.yaml")}
    assert {name for name in after if after[name] != before[name]} == {"services.yaml"}


def test_a_sidecar_hears_of_those_only_whom_its_application_calls() -> None:
    text = topology_files.render(PLAN.workloads, "https://issuer", "{}")["sidecars-us-west-2.yaml"]
    by_app = {part.split('name: "')[1].split("-us")[0]: part for part in text.split("---\n")}
    assert '"./session.causeway.svc.cluster.local"' in by_app["gateway"]
    assert "session" not in by_app["retrieval"].partition("egress")[2]
    assert '"~/*"' in by_app["policy"]
    assert "ingress:" not in by_app["indexer"]


@pytest.mark.parametrize(
    "workers,override,expected",
    [
        (1, {}, set()),
        (0, {}, {"policy", "session", "retrieval", "gateway"}),
        (2, {"gateway": "1"}, {"policy", "session", "retrieval"}),
        (1, {"gateway": "4"}, {"gateway"}),
        (1, {"gateway@us-west-2": "0"}, {"gateway"}),
        (1, {"gateway@us-east-1": "0"}, set()),
    ],
)
def test_where_workers_share_a_port_each_call_has_a_connection_of_its_own(
    workers: int, override: dict[str, str], expected: set[str], tmp_path: Path
) -> None:
    env = {process: {"CAUSEWAY_WORKERS": count} for process, count in override.items()}
    shared = services.sharing(Settings(home=tmp_path, workers=workers, env=env), REGIONS)
    files = topology_files.render(PLAN.workloads, "https://issuer", "{}", shared=shared)
    text = files["sidecars-us-west-2.yaml"]
    by_app = {part.split('name: "')[1].split("-us")[0]: part for part in text.split("---\n")}
    assert {app for app, part in by_app.items() if "maxConcurrentStreams: 1\n" in part} == expected


@pytest.mark.parametrize("plane", [DataPlane.SIDECAR, DataPlane.PROXYLESS])
def test_every_proxy_finds_its_files_and_nobody_else_can_read_them(layout: Layout, plane: DataPlane) -> None:
    plan = make_plan(plane)
    MeshFiles(layout, plan).write()
    for item in plan.workloads:
        folder = layout.proxy(item.process)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {"bootstrap.json", "identity.json", "trust.json"} <= {path.name for path in folder.iterdir()}
        own_proxy = (
            plane is DataPlane.PROXYLESS
            and item.role is Role.SIDECAR
            and item.app
            in (
                "gateway",
                "retrieval",
                "indexer",
            )
        )
        assert (folder / proxyless.FILE).exists() == own_proxy
    assert b"BEGIN CERTIFICATE" in layout.ca.read_bytes()


def test_files_of_a_platform_that_starts_again_are_kept_where_they_are_good(layout: Layout) -> None:
    MeshFiles(layout, PLAN).write()
    identity = layout.proxy("envoy-gateway@us-west-2") / "identity.json"
    before, roots = identity.read_bytes(), layout.ca.read_bytes()
    MeshFiles(layout, PLAN).write()
    assert (identity.read_bytes(), layout.ca.read_bytes()) == (before, roots)


def test_a_damaged_authority_is_told_and_not_replaced(layout: Layout) -> None:
    MeshFiles(layout, PLAN).write()
    (layout.pki / "root.json").write_text("{")
    with pytest.raises(SetupError, match=r"root\.json"):
        MeshFiles(layout, PLAN).write()
    assert (layout.pki / "root.json").read_text() == "{"


def test_a_region_nobody_knows_gets_a_gateway(layout: Layout) -> None:
    MeshFiles(layout, make_plan(regions=("eu-north-1",))).write()
    text = (layout.overlays / "eu-north-1.yaml").read_text()
    assert '"eu-north-1.api.causeway.local"' in text

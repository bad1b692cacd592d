"""Which instance answers: weights, header routes, mirrors, hashing, as calls through real proxies show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import Client
from support.mesh_manifests import Instance, host, yaml
from support.mesh_processes import eventually

from mesh.local.addresses import EGRESS

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSTANCES = [
    Instance(name="caller", app="caller"),
    Instance(name="one", app="echo"),
    Instance(name="two", app="echo", version="v2"),
]
ECHO = host("echo")
SUBSETS = "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]"
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("routes"), INSTANCES) as mesh:
        yield mesh


def rule(policy: str = "", subsets: str = SUBSETS) -> str:
    return yaml("DestinationRule", "echo", f"host: {ECHO}\n{subsets}\n{policy}")


def routes(http: str) -> str:
    return yaml("VirtualService", "echo", f"hosts: [{ECHO}]\nhttp:\n{http}")


def to(subset: str) -> str:
    return f"route: [{{destination: {{host: {ECHO}, subset: {subset}}}}}]"


async def test_a_canary_gets_its_share_within_two_points(mesh: Mesh) -> None:
    count = 10_000
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- route:
  - {{destination: {{host: {ECHO}, subset: v1}}, weight: 90}}
  - {{destination: {{host: {ECHO}, subset: v2}}, weight: 10}}
"""),
    )
    found = await mesh.client("caller").many(count, at_once=100)
    assert set(found) == {"one", "two"}, "not one failed"
    assert abs(100 * found["two"] / count - 10) < 2, found
    assert mesh.echoes["two"].total == found["two"], "not one was made twice"


async def test_without_routes_instances_share_the_calls(mesh: Mesh) -> None:
    await mesh.apply(STRICT, rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}"))
    found = await mesh.client("caller").many(200)
    assert found == {"one": 100, "two": 100}


async def test_headers_choose_the_route_and_the_first_match_wins(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- match: [{{headers: {{x-version: {{exact: v2}}}}, withoutHeaders: {{x-robot: {{}}}}}}]
  {to("v2")}
- match: [{{headers: {{x-version: {{prefix: v}}}}}}]
  {to("v1")}
- match: [{{headers: {{x-user: {{regex: "a.*z"}}}}}}]
  {to("v2")}
- {to("v1")}
"""),
    )
    client = mesh.client("caller")
    assert await client.who(x_version="v2") == "two"
    assert await client.who(x_version="v2", x_robot="yes") == "one"
    assert await client.who(x_version="v3") == "one"
    assert await client.who(x_user="abcz") == "two"
    assert await client.who(x_user="xabcz") == "one", "the whole value has to match"
    assert await client.who() == "one"


async def test_methods_have_routes_of_their_own(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- match: [{{uri: {{exact: /test.Echo/Say}}}}, {{uri: {{prefix: /test.Admin/}}}}]
  {to("v2")}
- match: [{{uri: {{regex: "/test\\\\.[A-Z][a-z]+/Say"}}}}]
  {to("v1")}
"""),
    )
    client = mesh.client("caller")
    assert await client.who("/test.Echo/Say") == "two"
    assert await client.who("/test.Admin/Anything") == "two"
    assert await client.who("/test.Other/Say") == "one"
    assert await client.who("/test.Other/Unknown") == "UNIMPLEMENTED", "what no route matches is not found"


async def test_headers_are_set_added_and_removed_for_requests_and_responses(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- headers:
    request: {{set: {{x-way: mesh}}, add: {{x-more: "2"}}, remove: [x-secret]}}
    response: {{set: {{x-served: by-mesh}}}}
  route:
  - destination: {{host: {ECHO}, subset: v2}}
    headers: {{request: {{set: {{x-canary: "1"}}}}, response: {{add: {{x-version: v2}}}}}}
"""),
    )
    answer = await mesh.client("caller").call(x_secret="s", x_way="mine")
    assert answer.instance == "two"
    assert answer.metadata["x-way"] == "mesh"
    assert answer.metadata["x-more"] == "2"
    assert answer.metadata["x-canary"] == "1"
    assert "x-secret" not in answer.metadata
    assert answer.headers["x-served"] == "by-mesh"
    assert answer.headers["x-version"] == "v2"


@pytest.mark.parametrize(
    "rules, destinations, received",
    [
        ("add", "add", "rule,destination"),
        ("set", "set", "destination"),
        ("set", "add", "rule,destination"),
        ("add", "set", "destination,rule"),
    ],
)
async def test_a_single_destination_changes_headers_after_its_rule(
    mesh: Mesh, rules: str, destinations: str, received: str
) -> None:
    """What both add arrives twice, what both set is the destination's. Envoy sets before it adds."""
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- headers: {{request: {{{rules}: {{x-from: rule}}}}}}
  route:
  - destination: {{host: {ECHO}, subset: v1}}
    headers: {{request: {{{destinations}: {{x-from: destination}}}}}}
"""),
    )
    assert (await mesh.client("caller").call()).metadata["x-from"] == received


async def test_a_mirror_gets_every_call_and_its_answers_go_nowhere(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- {to("v1")}
  mirrors: [{{destination: {{host: {ECHO}, subset: v2}}, percentage: {{value: 100}}}}]
"""),
    )
    one, two = mesh.echoes["one"], mesh.echoes["two"]
    two.fails = grpc.StatusCode.INTERNAL
    assert await mesh.client("caller").many(200) == {"one": 200}

    async def mirrored() -> bool:
        return two.total == 200

    await eventually(mirrored, "every call at the mirror")
    assert one.total == 200


async def test_a_mirror_gets_its_percentage(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- {to("v1")}
  mirrors: [{{destination: {{host: {ECHO}, subset: v2}}, percentage: {{value: 25}}}}]
"""),
    )
    assert await mesh.client("caller").many(1000) == {"one": 1000}
    await asyncio.sleep(0.5)
    # Five standard deviations of a binomial with 1,000 trials are 68.
    assert abs(mesh.echoes["two"].total - 250) < 69


@pytest.mark.parametrize("kind", ["ringHash: {minimumRingSize: 1024}", "maglev: {tableSize: 5381}"])
async def test_a_hash_keeps_a_tenant_on_one_instance_and_spreads_tenants(mesh: Mesh, kind: str) -> None:
    await mesh.apply(
        STRICT,
        rule(
            f"trafficPolicy: {{loadBalancer: {{consistentHash: {{httpHeaderName: x-tenant, {kind}}}}}}}", ""
        ),
    )
    client = mesh.client("caller")
    homes = {}
    for tenant in (f"tenant-{number}" for number in range(20)):
        found = await client.many(10, x_tenant=tenant)
        assert len(found) == 1, f"{tenant} was served by {found}"
        homes[tenant] = next(iter(found))
    assert set(homes.values()) == {"one", "two"}
    # The same in a configuration made anew: another proxy of the same service must choose alike.
    again = {tenant: await client.who(x_tenant=tenant) for tenant in homes}
    assert again == homes


async def test_a_subset_may_balance_otherwise_than_its_service(mesh: Mesh) -> None:
    subsets = (
        "subsets: [{name: all, labels: {app: echo}, trafficPolicy: {loadBalancer: "
        "{consistentHash: {httpHeaderName: x-tenant}}}}]"
    )
    await mesh.apply(
        STRICT,
        rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", subsets),
        routes(
            f"- match: [{{headers: {{x-tenant: {{}}}}}}]\n  {to('all')}\n"
            f"- route: [{{destination: {{host: {ECHO}}}}}]"
        ),
    )
    client = mesh.client("caller")
    assert len(await client.many(20, x_tenant="acme")) == 1
    assert await client.many(20) == {"one": 10, "two": 10}


async def test_a_subset_that_no_workload_has_is_unavailable_and_harms_nothing_else(mesh: Mesh) -> None:
    subsets = "subsets: [{name: v1, labels: {version: v1}}, {name: v9, labels: {version: v9}}]"
    await mesh.apply(
        STRICT,
        rule("", subsets),
        routes(f"- match: [{{headers: {{x-version: {{exact: v9}}}}}}]\n  {to('v9')}\n- {to('v1')}"),
    )
    client = mesh.client("caller")
    assert await client.code(x_version="v9") == "UNAVAILABLE"
    assert await client.who() == "one"


async def test_an_answer_may_come_from_the_proxy_itself(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- match: [{{uri: {{exact: /test.Echo/Gone}}}}]
  directResponse: {{status: 403, body: {{string: "no more"}}}}
- {to("v1")}
"""),
    )
    assert await mesh.client("caller").code("/test.Echo/Gone") == "PERMISSION_DENIED"
    assert await mesh.client("caller").who() == "one"


async def test_every_name_of_a_service_is_known_with_any_port(mesh: Mesh) -> None:
    """A port in the authority is no part of the name: the listener's port has chosen the service's."""
    await mesh.apply(STRICT)
    target = f"{mesh.network.address('caller')}:{EGRESS}"
    for authority in (ECHO, f"{ECHO}:8080", "echo", "echo:80", "echo.causeway:8443"):
        options = [("grpc.default_authority", authority)]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            assert await Client(channel).code() == "OK", authority


async def test_a_rewrite_changes_the_method_that_the_server_sees(mesh: Mesh) -> None:
    await mesh.apply(
        STRICT,
        rule(),
        routes(f"""
- match: [{{uri: {{prefix: /test.Old/}}}}]
  rewrite: {{uri: /test.New/}}
  {to("v1")}
- {to("v2")}
"""),
    )
    assert await mesh.client("caller").who("/test.Old/Say") == "one"
    assert mesh.echoes["one"].calls == {"/test.New/Say": 1}


async def test_a_route_moves_while_calls_go_on_and_none_fails(mesh: Mesh) -> None:
    """Clusters come before the routes that use them, and leave after."""
    await mesh.apply(STRICT, rule(), routes(f"- {to('v1')}"))
    client = mesh.client("caller")
    calls = asyncio.create_task(client.many(3000, at_once=16))
    for number in range(6):
        subset = f"- {{name: now{number}, labels: {{version: v{1 + number % 2}}}}}"
        mesh.write("test", STRICT, rule("", f"subsets:\n{subset}"), routes(f"- {to(f'now{number}')}"))
        await asyncio.sleep(0.25)
    found = await calls
    assert set(found) <= {"one", "two"}, found
    await mesh.settled()
    assert await client.who() == "two"

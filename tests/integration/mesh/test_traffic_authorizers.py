"""AuthorizationPolicies that ask somebody (CUSTOM) and that only take note (AUDIT), as calls between real
proxies show them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import SAY
from support.mesh_istio import ASK
from support.mesh_manifests import Instance, host, yaml
from support.mesh_processes import eventually

from mesh.xds.protos import external_auth_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLER = Instance(name="caller", app="caller")
OTHER = Instance(name="other", app="other")
INSTANCES = [CALLER, OTHER, Instance(name="echo", app="echo"), Instance(name="guard", app="guard")]
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
ADMIN = "/test.Admin/Drop"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("authorizers"), INSTANCES) as mesh:
        yield mesh


class Guard:
    """Lets a caller in who shows the right ticket, and says which."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def decide(self, request: bytes) -> bytes:
        attributes = external_auth_pb2.CheckRequest.FromString(request).attributes
        self.asked.append(attributes)
        answer = external_auth_pb2.CheckResponse()
        ticket = attributes.request.http.headers.get("x-ticket", "")
        if ticket == "good":
            allowed = answer.ok_response
            allowed.headers.add().header.key = "x-guard"
            allowed.headers[0].header.value = "passed"
            allowed.headers_to_remove.append("x-ticket")
        else:
            answer.status.code = 8 if ticket == "spent" else 7
            if ticket == "spent":
                answer.denied_response.status.code = 429
                answer.denied_response.headers.add().header.key = "x-why"
                answer.denied_response.headers[0].header.value = "spent"
        return bytes(answer.SerializeToString())


@pytest.fixture
def guard(mesh: Mesh) -> Guard:
    guard = Guard()
    mesh.echoes["guard"].serves = {ASK: guard.decide}
    return guard


def provider(more: str = "") -> str:
    """The guard is in the mesh itself: it is asked over mutual TLS."""
    said = f"{{service: {host('guard')}, port: 8080, timeout: 1s{more}}}"
    spec = f"meshConfig: {{extensionProviders: [{{name: guard, envoyExtAuthzGrpc: {said}}}]}}"
    return yaml("IstioOperator", "mesh", spec, "istio-system")


def policy(action: str, rules: str, more: str = "", name: str = "") -> str:
    spec = f"selector: {{matchLabels: {{app: echo}}}}\naction: {action}\n{more}\nrules:\n{rules}"
    return yaml("AuthorizationPolicy", name or action.lower(), spec)


ADMINS = "- to: [{operation: {paths: [/test.Admin/*]}}]"
ASKED = policy("CUSTOM", ADMINS, "provider: {name: guard}")


async def test_the_guard_is_asked_where_a_policy_says_so_and_nowhere_else(mesh: Mesh, guard: Guard) -> None:
    await mesh.apply(STRICT, provider(), ASKED)
    client = mesh.client("caller")
    assert await client.code(SAY) == "OK"
    assert guard.asked == []
    answer = await client.call(ADMIN, x_ticket="good", x_guard="forged")
    assert answer.instance == "echo"
    assert answer.metadata["x-guard"] == "passed", "what the guard says reaches the server"
    assert "x-ticket" not in answer.metadata
    mesh.echoes["echo"].well()
    assert await client.code(ADMIN) == "PERMISSION_DENIED"
    assert await client.code(ADMIN, x_ticket="bad") == "PERMISSION_DENIED"
    assert mesh.echoes["echo"].total == 0
    assert len(guard.asked) == 3


async def test_the_guard_is_told_who_calls_what(mesh: Mesh, guard: Guard) -> None:
    await mesh.apply(STRICT, provider(), ASKED)
    await mesh.client("other").call(ADMIN, x_ticket="good")
    attributes = guard.asked[0]
    assert attributes.source.principal == OTHER.identity.uri
    assert attributes.request.http.path == ADMIN
    assert attributes.request.http.host == host("echo")


async def test_a_refusal_comes_with_the_guards_own_words(mesh: Mesh, guard: Guard) -> None:
    await mesh.apply(STRICT, provider(), ASKED)
    call = mesh.client("caller").unary(ADMIN, metadata=(("x-ticket", "spent"),))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, "429 in gRPC's words"
    seen = {**dict(await call.initial_metadata()), **dict(await call.trailing_metadata())}
    assert seen["x-why"] == "spent"


async def test_without_the_guard_nobody_passes_unless_that_was_said(mesh: Mesh, guard: Guard) -> None:
    await mesh.apply(STRICT, provider(), ASKED)
    await mesh.echoes["guard"].stop()
    try:
        client = mesh.client("caller")
        assert await client.code(ADMIN, x_ticket="good") == "PERMISSION_DENIED"
        assert await client.code(SAY) == "OK"
        mesh.write("test", STRICT, provider(", statusOnError: '503'"), ASKED)
        await mesh.settled()
        assert await client.code(ADMIN, x_ticket="good") == "UNAVAILABLE"
        mesh.write("test", STRICT, provider(", failOpen: true"), ASKED)
        await mesh.settled()
        assert await client.code(ADMIN) == "OK"
    finally:
        await mesh.echoes["guard"].start()


async def test_a_guard_that_hangs_is_waited_for_as_long_as_was_said(mesh: Mesh, guard: Guard) -> None:
    await mesh.apply(STRICT, provider(), ASKED)
    mesh.echoes["guard"].serves = {}
    mesh.echoes["guard"].delay = 30.0
    assert await mesh.client("caller").code(ADMIN, x_ticket="good", timeout=15.0) == "PERMISSION_DENIED"


async def test_whom_the_guard_lets_in_a_deny_or_a_missing_allow_still_refuses(
    mesh: Mesh, guard: Guard
) -> None:
    deny = policy("DENY", "- when: [{key: 'request.headers[x-robot]', values: ['yes']}]")
    allow = policy("ALLOW", "- from: [{source: {principals: [cluster.local/ns/causeway/sa/caller]}}]")
    await mesh.apply(STRICT, provider(), ASKED, deny, allow)
    assert await mesh.client("caller").code(ADMIN, x_ticket="good") == "OK"
    assert await mesh.client("caller").code(ADMIN, x_robot="yes", x_ticket="good") == "PERMISSION_DENIED"
    assert await mesh.client("other").code(ADMIN, x_ticket="good") == "PERMISSION_DENIED"
    assert await mesh.client("caller").code(ADMIN) == "PERMISSION_DENIED"


async def test_a_provider_that_nobody_declared_refuses_what_would_have_been_asked(
    mesh: Mesh, guard: Guard
) -> None:
    await mesh.apply(STRICT, provider(), policy("CUSTOM", ADMINS, "provider: {name: nobody}"))
    assert await mesh.client("caller").code(ADMIN, x_ticket="good") == "PERMISSION_DENIED"
    assert await mesh.client("caller").code(SAY) == "OK"
    assert guard.asked == []


def log_of_audits(mesh: Mesh) -> list[str]:
    """The server's proxy logs the note that an audit leaves: in Istio, too, it is a log that shows it."""
    note = "%DYNAMIC_METADATA(envoy.common:access_log_hint)%"
    shape = {"labels": {"path": "%REQ(:PATH)%", "noted": note, "status": "%GRPC_STATUS%"}}
    said = json.dumps({"path": str(mesh.folder / "audit.log"), "logFormat": shape})
    config = f"meshConfig: {{extensionProviders: [{{name: audit, envoyFileAccessLog: {said}}}]}}"
    telemetry = "selector: {matchLabels: {app: echo}}\naccessLogging: [{providers: [{name: audit}]}]"
    return [yaml("IstioOperator", "mesh", config, "istio-system"), yaml("Telemetry", "audit", telemetry)]


async def logged(mesh: Mesh, count: int) -> list[dict[str, Any]]:
    """The last `count` lines, once they are there; the log begins anew."""
    log = mesh.folder / "audit.log"

    async def there() -> bool:
        return len(log.read_text().splitlines()) >= count

    await eventually(there, "the log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("")
    return lines


async def test_an_audit_notes_what_matches_and_refuses_nothing(mesh: Mesh) -> None:
    await mesh.apply(STRICT, *log_of_audits(mesh), policy("AUDIT", ADMINS))
    client = mesh.client("caller")
    for method in (ADMIN, SAY, ADMIN):
        assert await client.code(method) == "OK"
    found = [(line["path"], line["noted"]) for line in await logged(mesh, 3)]
    assert found == [(ADMIN, True), (SAY, False), (ADMIN, True)]


async def test_what_is_refused_is_audited_too(mesh: Mesh) -> None:
    await mesh.apply(STRICT, *log_of_audits(mesh), policy("AUDIT", ADMINS), policy("DENY", ADMINS))
    assert await mesh.client("caller").code(ADMIN) == "PERMISSION_DENIED"
    (line,) = await logged(mesh, 1)
    assert (line["noted"], line["status"]) == (True, "PermissionDenied")

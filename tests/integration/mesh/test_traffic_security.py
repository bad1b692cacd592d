"""Who may talk to whom: mutual TLS and authorization, as calls between real proxies show it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import Client
from support.mesh_manifests import Instance, host, yaml
from support.mesh_tls import through_tls, tls

from mesh.local.addresses import INBOUND
from mesh.pki.bootstrap import IdentityFiles, ensure
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority
from mesh.pki.svid import Identity

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLER = Instance(name="caller", app="caller")
OTHER = Instance(name="other", app="other")
ECHO = Instance(name="echo", app="echo")
BARE = Instance(name="bare", app="bare", proxied=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("security"), [CALLER, OTHER, ECHO, BARE]) as mesh:
        yield mesh


def mutual_tls(mode: str, more: str = "") -> str:
    return yaml("PeerAuthentication", "default", f"mtls: {{mode: {mode}}}\n{more}", "istio-system")


STRICT = mutual_tls("STRICT")


def allow(rules: str, action: str = "ALLOW", name: str = "echo") -> str:
    spec = f"selector: {{matchLabels: {{app: echo}}}}\naction: {action}\nrules:\n{rules}"
    return yaml("AuthorizationPolicy", name, spec)


def direct(mesh: Mesh) -> str:
    """Where the server's sidecar listens."""
    return f"{mesh.network.address('echo')}:{INBOUND}"


async def plaintext(mesh: Mesh) -> str:
    """The status of a call that goes to the server's sidecar without TLS."""
    options = [("grpc.default_authority", host("echo"))]
    async with grpc.aio.insecure_channel(direct(mesh), options=options) as channel:
        return await Client(channel).code(timeout=5.0)


async def with_identity(mesh: Mesh, files: IdentityFiles | None, trust: Path) -> str:
    """The status of a call with this identity, straight to the server's sidecar."""
    async with through_tls(direct(mesh), tls(files, trust)) as client:
        return await client.code(timeout=5.0)


def own(mesh: Mesh) -> IdentityFiles:
    return IdentityFiles(mesh.identity(CALLER.identity))


async def test_strict_takes_mutual_tls_and_refuses_plaintext(mesh: Mesh) -> None:
    await mesh.apply(STRICT)
    answer = await mesh.client("caller").call()
    assert answer.instance == "echo"
    certificate = answer.metadata["x-forwarded-client-cert"]
    assert f"URI={CALLER.identity.uri}" in certificate, "the application is told who called"
    mesh.echoes["echo"].well()
    assert await plaintext(mesh) == "UNAVAILABLE"
    assert mesh.echoes["echo"].total == 0


async def test_strict_refuses_a_client_without_a_certificate(mesh: Mesh) -> None:
    await mesh.apply(STRICT)
    assert await with_identity(mesh, own(mesh), own(mesh).trust) == "OK"
    mesh.echoes["echo"].well()
    assert await with_identity(mesh, None, own(mesh).trust) == "UNAVAILABLE"
    assert mesh.echoes["echo"].total == 0


async def test_strict_refuses_the_right_name_from_a_foreign_authority(mesh: Mesh, tmp_path: Path) -> None:
    await mesh.apply(STRICT)
    root = RootAuthority(tmp_path / "foreign", "cluster.local")
    root.open_or_create()
    root.ensure_region("us-west-2")
    foreign = IdentityFiles(tmp_path / "identity")
    ensure(RegionalAuthority.open(tmp_path / "foreign", "us-west-2"), CALLER.identity, foreign.folder)
    assert await with_identity(mesh, foreign, own(mesh).trust) == "UNAVAILABLE"
    assert mesh.echoes["echo"].total == 0


async def test_a_sidecar_does_not_talk_to_a_server_with_anothers_identity(mesh: Mesh) -> None:
    """The client's side: whoever listens at the server's address must prove the server's identity."""
    liar = yaml(
        "ServiceEntry",
        "echo-of-another",
        f"""
        hosts: [other-echo.causeway.svc.cluster.local]
        location: MESH_INTERNAL
        resolution: STATIC
        ports: [{{number: 8080, name: grpc, protocol: GRPC, targetPort: {INBOUND}}}]
        endpoints: [{{address: {mesh.network.address("echo")}, serviceAccount: other,
          labels: {{security.istio.io/tlsMode: istio}}}}]
        """,
    )
    await mesh.apply(STRICT, liar)
    assert await mesh.client("caller", "other-echo").code() == "UNAVAILABLE"
    refused = await mesh.proxies["caller"].stats("other-echo.*fail_verify_san")
    assert sum(refused.values()) > 0, "because of the name, and nothing else"
    assert mesh.echoes["echo"].total == 0


async def test_permissive_takes_both(mesh: Mesh) -> None:
    await mesh.apply(mutual_tls("PERMISSIVE"))
    assert await plaintext(mesh) == "OK"
    answer = await mesh.client("caller").call()
    assert CALLER.identity.uri in answer.metadata["x-forwarded-client-cert"], "sidecars still use mutual TLS"


async def test_disable_takes_plaintext_only(mesh: Mesh) -> None:
    disabled = yaml(
        "PeerAuthentication", "echo", "selector: {matchLabels: {app: echo}}\nmtls: {mode: DISABLE}"
    )
    rule = yaml("DestinationRule", "echo", f"host: {host('echo')}\ntrafficPolicy: {{tls: {{mode: DISABLE}}}}")
    await mesh.apply(STRICT, disabled, rule)
    assert await plaintext(mesh) == "OK"
    assert "x-forwarded-client-cert" not in (await mesh.client("caller").call()).metadata
    assert await with_identity(mesh, own(mesh), own(mesh).trust) == "UNAVAILABLE"


async def test_a_port_may_be_stricter_than_its_workload(mesh: Mesh) -> None:
    ports = f"portLevelMtls: {{{INBOUND}: {{mode: STRICT}}}}"
    strict = yaml(
        "PeerAuthentication",
        "echo",
        f"selector: {{matchLabels: {{app: echo}}}}\nmtls: {{mode: PERMISSIVE}}\n{ports}",
    )
    await mesh.apply(mutual_tls("PERMISSIVE"), strict)
    assert await plaintext(mesh) == "UNAVAILABLE"
    assert await mesh.client("caller").code() == "OK"


async def test_a_server_without_a_sidecar_is_called_in_plaintext(mesh: Mesh) -> None:
    await mesh.apply(STRICT)
    answer = await mesh.client("caller", "bare").call()
    assert answer.instance == "bare"
    assert "x-forwarded-client-cert" not in answer.metadata


async def test_what_a_client_says_of_its_certificate_is_not_believed(mesh: Mesh) -> None:
    await mesh.apply(STRICT)
    answer = await mesh.client("caller").call(
        x_forwarded_client_cert="By=spiffe://cluster.local/ns/causeway/sa/echo;"
        "URI=spiffe://cluster.local/ns/causeway/sa/admin"
    )
    assert "sa/admin" not in answer.metadata["x-forwarded-client-cert"]


async def test_a_wrong_principal_is_denied_and_the_right_one_passes(mesh: Mesh) -> None:
    await mesh.apply(STRICT, allow("- from: [{source: {principals: [cluster.local/ns/causeway/sa/caller]}}]"))
    assert await mesh.client("caller").code() == "OK"
    mesh.echoes["echo"].well()
    assert await mesh.client("other").code() == "PERMISSION_DENIED"
    assert mesh.echoes["echo"].total == 0
    everybody = IdentityFiles(mesh.identity(Identity("elsewhere", "caller")))
    assert await with_identity(mesh, everybody, everybody.trust) == "PERMISSION_DENIED"


async def test_a_principal_may_call_the_methods_it_is_given(mesh: Mesh) -> None:
    rule = """
    - from: [{source: {principals: ["*/sa/caller"]}}]
      to: [{operation: {methods: [POST], paths: [/test.Echo/*], notPaths: [/test.Echo/Drop]}}]
    """
    await mesh.apply(STRICT, allow(rule))
    client = mesh.client("caller")
    assert await client.code("/test.Echo/Say") == "OK"
    assert await client.code("/test.Echo/Drop") == "PERMISSION_DENIED"
    assert await client.code("/test.Admin/Say") == "PERMISSION_DENIED"


async def test_deny_comes_before_allow(mesh: Mesh) -> None:
    every = allow("- {}")
    deny = allow("- when: [{key: 'request.headers[x-robot]', values: ['yes']}]", "DENY", "no-robots")
    await mesh.apply(STRICT, every, deny)
    client = mesh.client("caller")
    assert await client.code() == "OK"
    assert await client.code(x_robot="yes") == "PERMISSION_DENIED"
    assert await client.code(x_robot="no") == "OK"


async def test_a_namespace_is_part_of_who_somebody_is(mesh: Mesh) -> None:
    await mesh.apply(STRICT, allow("- from: [{source: {namespaces: [causeway]}}]"))
    assert await mesh.client("other").code() == "OK"
    outsider = IdentityFiles(mesh.identity(Identity("elsewhere", "other")))
    assert await with_identity(mesh, outsider, outsider.trust) == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    "source, code",
    [
        ("trustDomains: [cluster.local]", "OK"),
        ("trustDomains: [elsewhere.test, 'cluster.*']", "OK"),
        ("trustDomains: [elsewhere.test]", "PERMISSION_DENIED"),
        ("trustDomains: [cluster]", "PERMISSION_DENIED"),
        ("notTrustDomains: [elsewhere.test]", "OK"),
        ("notTrustDomains: ['*.local']", "PERMISSION_DENIED"),
    ],
)
async def test_a_trust_domain_is_part_of_who_somebody_is(mesh: Mesh, source: str, code: str) -> None:
    await mesh.apply(STRICT, allow(f"- from: [{{source: {{{source}}}}}]"))
    assert await mesh.client("caller").code() == code


async def test_allow_nothing_denies_everything(mesh: Mesh) -> None:
    await mesh.apply(STRICT, yaml("AuthorizationPolicy", "deny-all", "{}"))
    assert await mesh.client("caller").code() == "PERMISSION_DENIED"
    await mesh.apply(STRICT)
    assert await mesh.client("caller").code() == "OK"


async def test_a_plaintext_caller_has_no_principal(mesh: Mesh) -> None:
    """PERMISSIVE lets it in; a rule on principals still does not."""
    await mesh.apply(
        mutual_tls("PERMISSIVE"),
        allow("- from: [{source: {principals: ['*']}}]"),
    )
    assert await plaintext(mesh) == "PERMISSION_DENIED"
    assert await mesh.client("caller").code() == "OK"

"""What an ingress lets in: TLS, tokens, patches by EnvoyFilter, as callers from outside meet them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from support.mesh import Mesh, running
from support.mesh_echo import SAY, Client
from support.mesh_ingress import (
    BEFORE_ROUTER,
    ECHO,
    GATEWAY,
    INSIDE,
    INSTANCES,
    NAME,
    STRICT,
    filters,
    outside,
    routes,
    tokens,
)
from support.mesh_manifests import host, yaml
from support.mesh_processes import eventually

from fakes.tokens import Issuer
from mesh.local.addresses import HTTPS
from mesh.pki.gateways import GatewayCertificates
from mesh.xds.protos import rls_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with running(tmp_path_factory.mktemp("ingress"), INSTANCES) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


async def test_a_call_from_outside_reaches_the_service_over_mutual_tls(mesh: Mesh) -> None:
    await mesh.apply(STRICT, GATEWAY, routes())
    async with outside(mesh) as client:
        answer = await client.call()
    assert answer.instance == "echo"
    assert (
        "URI=spiffe://cluster.local/ns/causeway-ingress/sa/ingress"
        in (answer.metadata["x-forwarded-client-cert"])
    )
    assert answer.metadata["x-forwarded-proto"] == "https"
    assert answer.metadata["x-request-id"]


async def test_a_port_in_the_authority_is_no_part_of_the_name(mesh: Mesh) -> None:
    """Browsers name the port wherever it is not 443."""
    tell = f"""- headers: {{request: {{set: {{x-asked: '%REQ(:AUTHORITY)%'}}}}}}
  route: [{{destination: {{host: {ECHO}, port: {{number: 8080}}}}}}]
"""
    await mesh.apply(STRICT, GATEWAY, routes(tell))
    for authority in (f"{NAME}:{HTTPS}", f"{NAME}:443"):
        async with outside(mesh, authority=authority) as client:
            assert (await client.call()).metadata["x-asked"] == authority


async def test_names_that_no_gateway_has_are_refused(mesh: Mesh) -> None:
    await mesh.apply(STRICT, GATEWAY, routes())
    async with outside(mesh, "other.causeway.local") as client:
        assert await client.code(timeout=5.0) == "UNAVAILABLE"
    assert mesh.echoes["echo"].total == 0


async def test_plaintext_is_refused(mesh: Mesh) -> None:
    await mesh.apply(STRICT, GATEWAY, routes())
    options = [("grpc.default_authority", NAME)]
    target = f"{mesh.network.address('ingress')}:{HTTPS}"
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        assert await Client(channel).code(timeout=5.0) == "UNAVAILABLE"


async def test_a_good_token_passes_and_its_claims_arrive_as_headers(mesh: Mesh, issuer: Issuer) -> None:
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer))
    token = f"Bearer {issuer.token(tenant='acme')}"
    async with outside(mesh) as client:
        answer = await client.call(authorization=token, x_causeway_tenant="forged")
    assert answer.metadata["authorization"] == token
    assert answer.metadata["x-causeway-tenant"] == "acme"


async def test_bad_tokens_are_refused(mesh: Mesh, issuer: Issuer) -> None:
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer))
    now = int(time.time())
    stranger = Issuer(issuer.issuer, issuer.audience)
    good = issuer.token()
    bad = {
        "expired": issuer.token(exp=now - 3600, iat=now - 7200),
        "of the future": issuer.token(nbf=now + 3600),
        "of another issuer": Issuer("https://elsewhere.test").token(),
        "in the issuer's name, by another": stranger.token(),
        "damaged": good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB"),
        "no token": "nonsense",
    }
    async with outside(mesh) as client:
        for why, token in bad.items():
            assert await client.code(authorization=f"Bearer {token}") == "UNAUTHENTICATED", why
        assert await client.code() == "PERMISSION_DENIED", "none at all"
        elsewhere = issuer.token(aud="another")
        assert await client.code(authorization=f"Bearer {elsewhere}") == "PERMISSION_DENIED"
        assert await client.code(authorization=f"Bearer {good}") == "OK"
    assert mesh.echoes["echo"].total == 1


async def test_without_a_rule_that_asks_for_one_a_token_is_optional_but_never_bad(
    mesh: Mesh, issuer: Issuer
) -> None:
    """As in Istio: RequestAuthentication refuses bad tokens, AuthorizationPolicy refuses their absence."""
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer, required=False))
    async with outside(mesh) as client:
        assert await client.code() == "OK"
        assert await client.code(authorization="Bearer nonsense") == "UNAUTHENTICATED"


async def test_claims_decide_who_may_call_what(mesh: Mesh, issuer: Issuer) -> None:
    admins = yaml(
        "AuthorizationPolicy",
        "admins",
        """
        action: DENY
        rules:
        - to: [{operation: {paths: [/test.Admin/*]}}]
          when: [{key: 'request.auth.claims[roles]', notValues: [admin]}]
        """,
        INSIDE,
    )
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer), admins)
    reader, admin = (issuer.metadata(roles=[role])[0][1] for role in ("reader", "admin"))
    async with outside(mesh) as client:
        assert await client.code("/test.Admin/Drop", authorization=reader) == "PERMISSION_DENIED"
        assert await client.code("/test.Admin/Drop", authorization=admin) == "OK"
        assert await client.code(authorization=reader) == "OK"


async def test_claims_decide_where_a_call_goes(mesh: Mesh, issuer: Issuer) -> None:
    """The route is looked for again once the token is checked; a claim may be a list, and within another."""
    elsewhere = f"route: [{{destination: {{host: {host('limits')}, port: {{number: 8080}}}}}}]"
    rules = f"""- match:
  - headers: {{"@request.auth.claims.roles": {{exact: admin}}}}
    withoutHeaders: {{"@request.auth.claims[realm][name]": {{prefix: guest}}}}
  {elsewhere}
"""
    await mesh.apply(STRICT, GATEWAY, routes(rules), *await tokens(issuer, required=False))
    admin = {"roles": ["reader", "admin"]}
    async with outside(mesh) as client:
        for claims, instance in (
            (admin, "limits"),
            ({"roles": "admin"}, "limits"),
            ({**admin, "realm": {"name": "home"}}, "limits"),
            ({**admin, "realm": {"name": "guests"}}, "echo"),
            ({"roles": ["reader"]}, "echo"),
        ):
            token = f"Bearer {issuer.token(**claims)}"
            assert await client.who(authorization=token) == instance, claims
        assert await client.who() == "echo", "no token, no claims"


async def test_a_local_rate_limit_by_envoyfilter_limits(mesh: Mesh) -> None:
    limit = filters(
        "limit",
        BEFORE_ROUTER
        + """
      name: envoy.filters.http.local_ratelimit
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
        stat_prefix: limited
        token_bucket: {max_tokens: 3, tokens_per_fill: 3, fill_interval: 600s}
        filter_enabled: {default_value: {numerator: 100}}
        filter_enforced: {default_value: {numerator: 100}}
        rate_limited_as_resource_exhausted: true
""",
    )
    await mesh.apply(STRICT, GATEWAY, routes(), limit)
    async with outside(mesh) as client:
        found = await client.many(10, at_once=1)
    assert found == {"echo": 3, "RESOURCE_EXHAUSTED": 7}


def limit(request: bytes) -> bytes:
    """A rate limit service: the tenant `greedy` has used up its share."""
    asked = rls_pb2.RateLimitRequest.FromString(request)
    entries = {entry.key: entry.value for item in asked.descriptors for entry in item.entries}
    codes = rls_pb2.RateLimitResponse
    code = codes.OVER_LIMIT if entries.get("tenant") == "greedy" else codes.OK
    return bytes(codes(overall_code=code).SerializeToString())


async def test_a_rate_limit_service_in_the_mesh_is_asked_with_the_tokens_tenant(
    mesh: Mesh, issuer: Issuer
) -> None:
    service = host("limits")
    patches = (
        BEFORE_ROUTER
        + f"""
      name: envoy.filters.http.ratelimit
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
        domain: test
        timeout: 5s
        failure_mode_deny: true
        rate_limited_as_resource_exhausted: true
        rate_limit_service:
          transport_api_version: V3
          grpc_service:
            envoy_grpc: {{cluster_name: "outbound|8080||{service}", authority: {service}}}
- applyTo: VIRTUAL_HOST
  match: {{context: GATEWAY}}
  patch:
    operation: MERGE
    value:
      rate_limits:
      - actions:
        - metadata:
            descriptor_key: tenant
            metadata_key:
              key: envoy.filters.http.jwt_authn
              path: [{{key: payload}}, {{key: tenant}}]
"""
    )
    await mesh.apply(STRICT, GATEWAY, routes(), *await tokens(issuer), filters("limits", patches))
    limits = mesh.echoes["limits"]
    limits.serves = {LIMIT_METHOD: limit}
    greedy, modest = (issuer.metadata(tenant=name)[0][1] for name in ("greedy", "modest"))
    async with outside(mesh) as client:
        assert await client.code(authorization=modest) == "OK"
        assert await client.code(authorization=greedy) == "RESOURCE_EXHAUSTED"
    assert limits.calls[LIMIT_METHOD] == 2
    assert mesh.echoes["echo"].total == 1


async def test_routes_and_clusters_take_patches(mesh: Mesh) -> None:
    patches = f"""
- applyTo: HTTP_ROUTE
  match: {{context: GATEWAY, routeConfiguration: {{vhost: {{route: {{name: all}}}}}}}}
  patch:
    operation: INSERT_BEFORE
    value: {{name: gone, match: {{path: /test.Echo/Gone}}, direct_response: {{status: 429}}}}
- applyTo: HTTP_ROUTE
  match: {{context: GATEWAY, routeConfiguration: {{vhost: {{route: {{name: all}}}}}}}}
  patch:
    operation: MERGE
    value: {{response_headers_to_add: [{{header: {{key: x-patched, value: "yes"}}}}]}}
- applyTo: CLUSTER
  match: {{context: GATEWAY, cluster: {{service: {ECHO}}}}}
  patch: {{operation: MERGE, value: {{connect_timeout: 0.321s}}}}
"""
    await mesh.apply(STRICT, GATEWAY, routes(), filters("edge", patches))
    async with outside(mesh) as client:
        assert await client.code("/test.Echo/Gone") == "UNAVAILABLE", "429 in gRPC's words"
        assert (await client.call()).headers["x-patched"] == "yes"
    dump = await mesh.proxies["ingress"].ask("/config_dump?resource=dynamic_active_clusters")
    assert '"connect_timeout": "0.321s"' in dump


async def test_a_stream_from_outside_goes_on_while_the_configuration_changes(mesh: Mesh) -> None:
    await mesh.apply(STRICT, GATEWAY, routes())
    async with outside(mesh) as client:
        watching = client.watch()
        assert b"echo" in await watching.read()
        # Routes come over RDS: connections stay.
        header = "- match: [{headers: {x-test: {exact: a}}}]\n  directResponse: {status: 403}\n"
        mesh.write("test", STRICT, GATEWAY, routes(header))
        await mesh.settled()
        assert await client.code(x_test="a") == "PERMISSION_DENIED"
        for _ in range(3):
            assert b"echo" in await asyncio.wait_for(watching.read(), 5.0)
        watching.cancel()


async def test_a_new_certificate_is_shown_to_new_callers(mesh: Mesh) -> None:
    await mesh.apply(STRICT, GATEWAY, routes())
    certificates = GatewayCertificates(mesh.pki, "us-west-2")
    async with outside(mesh) as client:
        assert await client.code() == "OK"
        assert certificates.ensure("api", [NAME, "new.causeway.local"])
        assert await client.code(SAY) == "OK", "who is in stays in"

    async def shown() -> bool:
        async with outside(mesh, "new.causeway.local") as client:
            # The certificate holds the name, and the Gateway does not: an answer from the proxy.
            return await client.code(timeout=2.0) == "UNIMPLEMENTED"

    wider = GATEWAY.replace(f"hosts: [{NAME}]", f"hosts: [{NAME}, new.causeway.local]")
    mesh.write("test", STRICT, wider, routes())
    await mesh.settled()
    await eventually(shown, "the new certificate")

"""An ingress that lets people in to one echo service, and the manifests that say so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from support.mesh import Mesh
from support.mesh_echo import Client
from support.mesh_manifests import Instance, host, yaml

from fakes.tokens import Issuer
from mesh.local.addresses import HTTPS
from mesh.pki.gateways import GatewayCertificates

NAME = "api.causeway.local"
INSTANCES = [
    Instance(name="ingress", app="ingress", ingress=True, gateway_ports={"https": HTTPS}),
    Instance(name="echo", app="echo"),
    Instance(name="limits", app="limits"),
]
ECHO = host("echo")
STRICT = yaml("PeerAuthentication", "default", "mtls: {mode: STRICT}", "istio-system")
INSIDE = "causeway-ingress"

GATEWAY = yaml(
    "Gateway",
    "public",
    f"""
    selector: {{istio: ingressgateway}}
    servers:
    - port: {{number: 443, name: https, protocol: HTTPS}}
      hosts: [{NAME}]
      tls: {{mode: SIMPLE, credentialName: api}}
    """,
    INSIDE,
)


def routes(http: str = "") -> str:
    default = f"- name: all\n  route: [{{destination: {{host: {ECHO}, port: {{number: 8080}}}}}}]"
    return yaml(
        "VirtualService", "api", f"hosts: [{NAME}]\ngateways: [public]\nhttp:\n{http}{default}", INSIDE
    )


async def tokens(issuer: Issuer, *, required: bool = True) -> list[str]:
    """The issuer's tokens are verified; callers without one are refused."""
    keys = (await issuer.fetch()).decode()
    rule = {
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "jwks": keys,
        "forwardOriginalToken": True,
        "outputClaimToHeaders": [{"header": "x-causeway-tenant", "claim": "tenant"}],
    }
    verify = yaml("RequestAuthentication", "tokens", f"jwtRules: [{json.dumps(rule)}]", INSIDE)
    allow = yaml(
        "AuthorizationPolicy",
        "tokens",
        f"rules: [{{from: [{{source: {{requestPrincipals: ['{issuer.issuer}/*']}}}}]}}]",
        INSIDE,
    )
    return [verify, allow] if required else [verify]


@asynccontextmanager
async def outside(
    mesh: Mesh, name: str = NAME, trust: bytes | None = None, authority: str | None = None
) -> AsyncIterator[Client]:
    """A client as people have one: it trusts the web's root and has no identity. `authority` is what it asks
    for; None: the name alone."""
    roots = trust or GatewayCertificates(mesh.pki, "us-west-2").trust.read_bytes()
    options: list[tuple[str, str | int]] = [
        ("grpc.ssl_target_name_override", name),
        ("grpc.enable_retries", 0),
    ]
    if authority is not None:
        options.append(("grpc.default_authority", authority))
    target = f"{mesh.network.address('ingress')}:{HTTPS}"
    credentials = grpc.ssl_channel_credentials(roots)
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        yield Client(channel)


def filters(name: str, patches: str) -> str:
    spec = f"workloadSelector: {{labels: {{istio: ingressgateway}}}}\nconfigPatches:\n{patches}"
    return yaml("EnvoyFilter", name, spec, INSIDE)


BEFORE_ROUTER = """
- applyTo: HTTP_FILTER
  match:
    context: GATEWAY
    listener:
      filterChain:
        filter:
          name: envoy.filters.network.http_connection_manager
          subFilter: {name: envoy.filters.http.router}
  patch:
    operation: INSERT_BEFORE
    value:
"""

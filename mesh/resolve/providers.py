"""MeshConfig's extensionProviders in our own words, and the clusters that they are reached through.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from __future__ import annotations

from mesh.ir.security import ExternalAuthorizer, Policy
from mesh.manifests.extension_provider import (
    EnvoyExternalAuthorizationRequestBody,
    ExtensionProvider,
)
from mesh.resolve.names import cluster_name
from mesh.resolve.settings import Settings

_FORBIDDEN = 403


def authorizers(policies: tuple[Policy, ...], settings: Settings) -> dict[str, ExternalAuthorizer]:
    """Those that CUSTOM policies name. One that MeshConfig does not have is left out: its policies deny all,
    as Istio has it."""
    found: dict[str, ExternalAuthorizer] = {}
    for policy in policies:
        provider = settings.provider(policy.provider) if policy.provider else None
        authorizer = _authorizer(provider, settings) if provider else None
        if authorizer is not None:
            found[policy.provider] = authorizer
    return found


def service_cluster(service: str | None, port: int | None) -> str:
    """The cluster of a provider's `[namespace/]host` and port."""
    host = (service or "").rpartition("/")[2].lower()
    return cluster_name(host, port or 0)


def _authorizer(provider: ExtensionProvider, settings: Settings) -> ExternalAuthorizer | None:
    grpc, http = provider.envoy_ext_authz_grpc, provider.envoy_ext_authz_http
    name = provider.name or ""
    if grpc is not None:
        limit, partial, packed = _body(grpc.include_request_body_in_check)
        return ExternalAuthorizer(
            name=name,
            cluster=service_cluster(grpc.service, grpc.port),
            timeout=grpc.timeout,
            fail_open=bool(grpc.fail_open),
            status_on_error=_status(grpc.status_on_error),
            max_body_bytes=limit,
            allow_partial_body=partial,
            pack_body_as_bytes=packed,
            origin=settings.origin(grpc),
        )
    if http is not None:
        limit, partial, packed = _body(http.include_request_body_in_check)
        return ExternalAuthorizer(
            name=name,
            cluster=service_cluster(http.service, http.port),
            grpc=False,
            timeout=http.timeout,
            fail_open=bool(http.fail_open),
            status_on_error=_status(http.status_on_error),
            path_prefix=http.path_prefix or "",
            include_request_headers=http.include_request_headers_in_check,
            headers_to_upstream=http.headers_to_upstream_on_allow,
            headers_to_downstream=http.headers_to_downstream_on_deny,
            max_body_bytes=limit,
            allow_partial_body=partial,
            pack_body_as_bytes=packed,
            origin=settings.origin(http),
        )
    return None


def _body(body: EnvoyExternalAuthorizationRequestBody | None) -> tuple[int, bool, bool]:
    if body is None:
        return 0, False, False
    return body.max_request_bytes or 0, bool(body.allow_partial_message), bool(body.pack_as_bytes)


def _status(text: str | None) -> int:
    return int(text) if text and text.isdigit() else _FORBIDDEN

"""Asking a service whether a request may pass: Envoy's ext_authz, for AuthorizationPolicies with action
CUSTOM.

The filter asks only when the RBAC filter before it, which enforces nothing, has left a note that one of the
provider's policies matches.
"""

from __future__ import annotations

from datetime import timedelta

from mesh.ir.security import ExternalAuthorizer
from mesh.ir.values import MatchKind, StringMatcher
from mesh.translate.claims import metadata
from mesh.translate.names import EXT_AUTHZ_PREFIX, JWT, server_name, split
from mesh.translate.packing import Proto, duration, string_match
from mesh.xds.protos import (
    config_source_pb2,
    ext_authz_pb2,
    grpc_service_pb2,
    http_status_pb2,
    http_uri_pb2,
    network_ext_authz_pb2,
    string_pb2,
    value_pb2,
)

NOTE = "istio_ext_authz_"
"""Prefix of what the RBAC filter notes."""

LONGEST = timedelta(seconds=600)
"""How long an answer is awaited where the provider sets no limit; Istio's."""

_V3 = config_source_pb2.ApiVersion.V3


def http_filter(authorizer: ExternalAuthorizer, noted_by: str) -> Proto:
    """For requests. `noted_by` is the RBAC filter that leaves the note."""
    made = ext_authz_pb2.ExtAuthz(
        transport_api_version=_V3,
        failure_mode_allow=authorizer.fail_open,
        status_on_error=http_status_pb2.HttpStatus(code=authorizer.status_on_error),
        filter_enabled_metadata=_noted(noted_by, authorizer.name),
        # So that the service is told the claims that were checked, not a token it would check again.
        metadata_context_namespaces=[JWT],
    )
    if authorizer.include_request_headers:
        made.allowed_headers.CopyFrom(_names(authorizer.include_request_headers))
    if authorizer.max_body_bytes:
        made.with_request_body.CopyFrom(
            ext_authz_pb2.BufferSettings(
                max_request_bytes=authorizer.max_body_bytes,
                allow_partial_message=authorizer.allow_partial_body,
                pack_as_bytes=authorizer.pack_body_as_bytes,
            )
        )
    if authorizer.grpc:
        made.grpc_service.CopyFrom(_grpc(authorizer))
    else:
        made.http_service.CopyFrom(_http(authorizer))
    return made


def network_filter(authorizer: ExternalAuthorizer, noted_by: str) -> Proto | None:
    """For connections; None for a provider that speaks HTTP, which cannot be asked about them."""
    if not authorizer.grpc:
        return None
    return network_ext_authz_pb2.ExtAuthz(
        stat_prefix="tcp.",
        transport_api_version=_V3,
        failure_mode_allow=authorizer.fail_open,
        grpc_service=_grpc(authorizer),
        filter_enabled_metadata=_noted(noted_by, authorizer.name),
    )


def _noted(noted_by: str, provider: str) -> Proto:
    ours = StringMatcher(MatchKind.PREFIX, f"{EXT_AUTHZ_PREFIX}-{provider}-ns[")
    value = value_pb2.ValueMatcher(string_match=string_match(ours))
    return metadata(noted_by, (f"{NOTE}shadow_effective_policy_id",), value)


def _grpc(authorizer: ExternalAuthorizer) -> Proto:
    return grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(
            cluster_name=authorizer.cluster,
            # The name of a cluster has signs that no authority may have.
            authority=server_name(authorizer.cluster),
        ),
        timeout=duration(authorizer.timeout or LONGEST),
    )


def _http(authorizer: ExternalAuthorizer) -> Proto:
    _, _, host, _ = split(authorizer.cluster)
    service = ext_authz_pb2.HttpService(
        server_uri=http_uri_pb2.HttpUri(
            uri=f"http://{host or authorizer.cluster}",
            cluster=authorizer.cluster,
            timeout=duration(authorizer.timeout or LONGEST),
        ),
        path_prefix=authorizer.path_prefix,
    )
    if authorizer.headers_to_upstream:
        service.authorization_response.allowed_upstream_headers.CopyFrom(
            _names(authorizer.headers_to_upstream)
        )
    if authorizer.headers_to_downstream:
        service.authorization_response.allowed_client_headers.CopyFrom(
            _names(authorizer.headers_to_downstream)
        )
    return service


def _names(headers: tuple[str, ...]) -> Proto:
    exact = [StringMatcher(MatchKind.EXACT, name, ignore_case=True) for name in headers]
    return string_pb2.ListStringMatcher(patterns=[string_match(item) for item in exact])

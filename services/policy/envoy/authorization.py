"""``envoy.service.auth.v3.Authorization``: Envoy's ext_authz asks whether a request may pass.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto. A refusal is a whole
answer: for a gRPC client a status with the details that our services send, for any other an HTTP status with
the same as JSON. Whatever goes wrong refuses: an error of this call itself, too, as long as the filter's
``failure_mode_allow`` is off.
"""

from __future__ import annotations

import base64
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.protobuf import json_format, struct_pb2
from google.rpc import status_pb2

from services.common.context import REQUEST_ID_KEY, request_id_from
from services.common.errors import Code, DomainError
from services.common.status import DETAILS_KEY, to_status
from services.policy.edge import Admission, Edge, EdgeRequest
from services.policy.envoy.callers import Callers
from services.policy.envoy.claims import claims_of

_HTTP = {Code.UNAUTHENTICATED: 401, Code.PERMISSION_DENIED: 403}
_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class EnvoyAuthorizationServicer(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]
    """Answers ext_authz."""

    def __init__(self, edge: Edge, callers: Callers, payload_key: str) -> None:
        """``payload_key``: where the jwt_authn filter leaves the claims in its metadata."""
        self._edge = edge
        self._callers = callers
        self._payload_key = payload_key

    async def Check(self, request: Any, context: Any) -> Any:
        """Lets a request pass, or refuses it."""
        self._callers.require(context.invocation_metadata() or ())
        http = request.attributes.request.http
        headers = _headers_of(http)
        asked = EdgeRequest(
            path=http.path,
            claims=claims_of(request.attributes.metadata_context, self._payload_key),
            headers=headers,
        )
        try:
            return allowed(self._edge.admit(asked))
        except DomainError as error:
            request_id = request_id_from([(REQUEST_ID_KEY, headers.get(REQUEST_ID_KEY, ""))])
            grpc_client = headers.get("content-type", "").startswith("application/grpc")
            return denied(error, request_id, grpc_client=grpc_client)


def _headers_of(http: Any) -> dict[str, str]:
    """Headers by name; of one that is there several times, the last."""
    if http.headers:
        return {name.lower(): value for name, value in http.headers.items()}
    # With the filter's encode_raw_headers they come as a list instead.
    return {
        item.key.lower(): item.value or item.raw_value.decode("utf-8", "replace")
        for item in http.header_map.headers
    }


def allowed(admission: Admission) -> Any:
    """The request goes on, with headers that say whose it is.

    The filter's metadata says the same; under ``counted`` only for a call that is to be counted, so that rate
    limits which read it there are asked about no other.
    """
    said: dict[str, Any] = {"method": admission.method, "action": admission.action}
    if admission.caller is not None:
        owner = {"tenant": admission.caller.tenant, "subject": admission.caller.subject}
        said |= owner
        if admission.counted:
            said["counted"] = owner
    metadata = struct_pb2.Struct()
    metadata.update(said)
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=int(Code.OK)),
        ok_response=external_auth_pb2.OkHttpResponse(
            headers=[_header(name, value) for name, value in admission.set_headers.items()],
            # Envoy takes out after it has set: the two lists have no name in common.
            headers_to_remove=admission.remove_headers,
        ),
        dynamic_metadata=metadata,
    )


def denied(error: DomainError, request_id: str, *, grpc_client: bool) -> Any:
    """The request ends here."""
    status = to_status(error, request_id)
    headers = [_header(REQUEST_ID_KEY, request_id)]
    if grpc_client:
        # Envoy makes a trailers-only response of it: the headers are the trailers, the body is the message.
        body = status.message
        headers += [_header("grpc-status", str(status.code)), _header(DETAILS_KEY, binary(status))]
    else:
        body = json_format.MessageToJson(status, indent=None, preserving_proto_field_name=True)
        headers.append(_header("content-type", "application/json"))
        if status.code == Code.UNAUTHENTICATED:
            headers.append(_header("www-authenticate", "Bearer"))
    code = _HTTP.get(Code(status.code), 403)
    return external_auth_pb2.CheckResponse(
        status=status_pb2.Status(code=status.code, message=status.message),
        denied_response=external_auth_pb2.DeniedHttpResponse(
            status=http_status_pb2.HttpStatus(code=code), headers=headers, body=body
        ),
    )


def binary(status: status_pb2.Status) -> str:
    """A status as the value of a ``-bin`` header: base64 without padding, as gRPC writes it."""
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


def _header(name: str, value: str) -> Any:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value), append_action=_OVERWRITE
    )

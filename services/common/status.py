"""DomainError to a gRPC status with google.rpc details, and back (AIP-193)."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from services.common.errors import Code, DomainError, FieldViolation, Reason, RemoteError

ERROR_DOMAIN = "causeway.dev"
DETAILS_KEY = "grpc-status-details-bin"

CODES: Mapping[Code, grpc.StatusCode] = {Code(code.value[0]): code for code in grpc.StatusCode}

_MAX_MESSAGE = 512
_MAX_VIOLATIONS = 32


def to_status(error: DomainError, request_id: str) -> status_pb2.Status:
    """The status that a client gets for an error."""
    code, reason = error.status
    status = status_pb2.Status(code=int(code), message=error.message[:_MAX_MESSAGE])
    info = error_details_pb2.ErrorInfo(reason=f"ERROR_REASON_{reason.name}", domain=ERROR_DOMAIN)
    info.metadata.update(error.metadata)
    info.metadata["request_id"] = request_id
    status.details.add().Pack(info)
    violations = error.violations
    if code is Code.INVALID_ARGUMENT and not violations:
        # Clients may rely on there being one; an empty path is that of the request as a whole.
        violations = (FieldViolation("", status.message),)
    if violations:
        bad = error_details_pb2.BadRequest()
        for violation in violations[:_MAX_VIOLATIONS]:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad)
    if reason is Reason.QUOTA_EXCEEDED:
        quota = error_details_pb2.QuotaFailure()
        subject = error.metadata.get("tenant", "tenant")
        quota.violations.add(subject=subject, description=error.message[:_MAX_MESSAGE])
        status.details.add().Pack(quota)
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def from_call(error: grpc.aio.AioRpcError) -> RemoteError | None:
    """The peer's refusal as it was raised there; None when the status is not one of ours."""
    blob = next((value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY), None)
    if blob is None:
        return None
    return from_status(
        status_pb2.Status.FromString(blob if isinstance(blob, bytes) else blob.encode("latin-1"))
    )


def from_status(status: status_pb2.Status) -> RemoteError | None:
    """A status as an error; None when it is not one of ours."""
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    found: set[str] = set()
    for detail in status.details:
        for message in (info, bad, retry):
            if detail.Unpack(message):
                found.add(message.DESCRIPTOR.name)
    if "ErrorInfo" not in found or info.domain != ERROR_DOMAIN:
        return None
    name = info.reason.removeprefix("ERROR_REASON_")
    return RemoteError(
        Code(status.code),
        Reason[name] if name in Reason.__members__ else Reason.UNSPECIFIED,
        status.message,
        metadata={key: value for key, value in info.metadata.items() if key != "request_id"},
        violations=[FieldViolation(item.field, item.description) for item in bad.field_violations],
        retry_after=retry.retry_delay.ToTimedelta() if "RetryInfo" in found else None,
    )

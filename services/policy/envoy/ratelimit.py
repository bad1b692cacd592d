"""``envoy.service.ratelimit.v3.RateLimitService``: Envoy asks whether a request is one too many.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto. A refusal carries the
headers that clients wait by: ``retry-after`` (RFC 9110, §10.2.3), ``x-ratelimit-limit``, ``-remaining`` and
``-reset``, and for gRPC clients the status with RetryInfo. Envoy answers RESOURCE_EXHAUSTED when its filter
has ``rate_limited_as_resource_exhausted``. When this call fails, the filter's ``failure_mode_deny`` decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from google.protobuf import duration_pb2

from services.common.context import current_call
from services.common.status import DETAILS_KEY, to_status
from services.policy.domain import Level, Rate
from services.policy.envoy.authorization import binary
from services.policy.envoy.callers import Callers
from services.policy.errors import RateLimited
from services.policy.rates import MOST_BURST, MOST_RATE, Counted, Descriptor, RateLimiter

_Limit = rls_pb2.RateLimitResponse.RateLimit
_UNITS = ((1, _Limit.SECOND), (60, _Limit.MINUTE), (3600, _Limit.HOUR), (86_400, _Limit.DAY))
_SECONDS = {1: 1, 2: 60, 3: 3600, 4: 86_400, 5: 30 * 86_400, 6: 365 * 86_400, 7: 7 * 86_400}
"""Length of Envoy's units: second, minute, hour, day, month, year, week."""
_MOST_PER_UNIT = 2**32 - 1
"""What the protocol can say."""


class EnvoyRateLimitServicer(rls_pb2_grpc.RateLimitServiceServicer):  # type: ignore[misc]
    """Answers the rate limit filter."""

    def __init__(self, limiter: RateLimiter, callers: Callers) -> None:
        self._limiter = limiter
        self._callers = callers

    async def ShouldRateLimit(self, request: Any, context: Any) -> Any:
        """Counts a request."""
        self._callers.require(context.invocation_metadata() or ())
        # By the protocol 0 stands for 1 here; it does not in a descriptor, where it is set or not.
        hits = request.hits_addend or 1
        descriptors = [descriptor_of(item, hits) for item in request.descriptors]
        return response_of(await self._limiter.take(request.domain, descriptors), current_call().request_id)


def descriptor_of(item: Any, hits: int) -> Descriptor:
    """A descriptor of Envoy's; ``hits`` is what the request counts when the descriptor does not say."""
    entries = tuple((entry.key, entry.value) for entry in item.entries)
    own = item.hits_addend.value if item.HasField("hits_addend") else hits
    return Descriptor(entries=entries, hits=own, limit=_override(item) if item.HasField("limit") else None)


def _override(item: Any) -> Rate | None:
    """The limit that a route names; None when it is none, and the rules hold."""
    seconds = _SECONDS.get(item.limit.unit)
    requests = item.limit.requests_per_unit
    if seconds is None or not 0 < requests <= MOST_BURST or requests / seconds > MOST_RATE:
        return None
    return Rate(requests / seconds, requests)


def response_of(counted: Sequence[Counted], request_id: str) -> Any:
    """What Envoy is told."""
    codes = rls_pb2.RateLimitResponse
    known = [(one.rate, one.level) for one in counted if one.rate is not None and one.level is not None]
    refusing = [level for _, level in known if not level.allowed]
    response = rls_pb2.RateLimitResponse(
        overall_code=codes.OVER_LIMIT if refusing else codes.OK,
        statuses=[_status(one) for one in counted],
    )
    if known:
        # Of several limits the client hears of the one that is, or will be, in its way.
        rate, level = min(known, key=lambda pair: (pair[1].allowed, pair[1].remaining, -pair[1].full))
        _add(response, "x-ratelimit-limit", str(rate.burst))
        _add(response, "x-ratelimit-remaining", str(level.remaining))
        _add(response, "x-ratelimit-reset", str(_whole_seconds(level.full)))
    if refusing:
        _refuse(response, refusing, request_id)
    return response


def _refuse(response: Any, refusing: Sequence[Level], request_id: str) -> None:
    waits = [level.wait for level in refusing]
    # One that never has room for so much at once leaves nothing to wait for.
    wait = None if None in waits else max((wait for wait in waits if wait is not None), default=None)
    error = RateLimited(wait)
    if wait is not None:
        _add(response, "retry-after", str(max(1, _whole_seconds(wait))))
    _add(response, DETAILS_KEY, binary(to_status(error, request_id)))
    # Envoy sends it as the body, or as the message of a gRPC status.
    response.raw_body = error.message.encode()


def _status(one: Counted) -> Any:
    codes = rls_pb2.RateLimitResponse
    status = codes.DescriptorStatus(code=codes.OK)
    if one.rate is not None:
        status.current_limit.CopyFrom(_current(one.rate))
    if one.level is not None:
        status.code = codes.OK if one.level.allowed else codes.OVER_LIMIT
        status.limit_remaining = min(one.level.remaining, 2**32 - 1)
        status.duration_until_reset.CopyFrom(_duration(one.level.full))
    return status


def _current(rate: Rate) -> Any:
    """A rate in the shortest unit in which it is a whole number, or else rounded by the day."""
    for seconds, unit in _UNITS:
        requests = rate.per_second * seconds
        whole = abs(requests - round(requests)) < 1e-9 * max(1.0, requests)
        if whole and 1 <= requests <= _MOST_PER_UNIT:
            return _Limit(requests_per_unit=round(requests), unit=unit)
    requests = max(1, min(_MOST_PER_UNIT, round(rate.per_second * 86_400)))
    return _Limit(requests_per_unit=requests, unit=_Limit.DAY)


def _whole_seconds(time: timedelta) -> int:
    return math.ceil(time.total_seconds())


def _duration(time: timedelta) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(time)
    return duration


def _add(response: Any, name: str, value: str) -> None:
    response.response_headers_to_add.append(base_pb2.HeaderValue(key=name, value=value))

"""No question whatever that a proxy asks breaks the policy service, or lets somebody in.

CAUSEWAY_FUZZ_EXAMPLES sets how many requests each method gets, made up anew at every run; without it a few
are tried, the same each time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.platform import started, state_folder

from fuzz.edge import CHECK, SHOULD_RATE_LIMIT, checks, claims_in, parsed, rate_limits
from fuzz.methods import Method
from fuzz.probe import Answer, Metadata, complaint, send
from fuzz.target import Target, is_healthy, processes_of
from services.common.permissions import PUBLIC_METHODS

EXAMPLES = int(os.environ.get("CAUSEWAY_FUZZ_EXAMPLES", "0"))
QUICK = 150
SECONDS = 20.0

INGRESS = "spiffe://fuzz.test/ns/edge/sa/ingress"
FROM_INGRESS: Metadata = (("x-forwarded-client-cert", f"By=spiffe://fuzz.test/policy;URI={INGRESS}"),)
CONFIG = f"""
[env.policy]
CAUSEWAY_EDGE_ENABLED = "true"
CAUSEWAY_EDGE_CALLERS = "{INGRESS}"
CAUSEWAY_RATES_LIMITS = "tenant=0.3333/5 tenant,class:chat=77777.777/7 tenant:fuzz,class=2.5/3"
"""
fuzzed = settings(
    max_examples=EXAMPLES or QUICK,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(0 if EXAMPLES else 120)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The policy service, which answers proxies of one identity."""
    with state_folder() as layout:
        (layout.home / "config.toml").write_text(CONFIG, "utf-8")
        with started(layout, sorted(processes_of("policy"))) as platform:
            yield Target("policy", platform, FROM_INGRESS, known={})


@pytest.fixture
async def channel(target: Target) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service, which must be the same process and well when the test has ended."""
    pid = target.pid
    async with grpc.aio.insecure_channel(target.address) as opened:
        yield opened
        assert await is_healthy(opened)
    assert target.pid == pid


async def ask(target: Target, channel: grpc.aio.Channel, method: Method, data: bytes) -> Answer:
    """One question, which must be answered, or refused when it is none."""
    answer = await send(channel, method, [data], target.metadata, SECONDS)
    reason = complaint(answer)
    assert not reason, f"{reason}\nrequest: {data.hex()[:4000]}\nlog: {target.last_error()}"
    return answer


def fit_for_http(text: str) -> bool:
    """Whether a proxy can send it as the value of a header."""
    return text.isascii() and not set(text) & set("\0\r\n")


@fuzzed
@given(data=checks())
async def test_a_request_passes_under_the_name_in_its_token_or_is_refused(
    target: Target, channel: grpc.aio.Channel, data: bytes
) -> None:
    answer = await ask(target, channel, CHECK, data)
    try:
        request = parsed(CHECK, data)
    except DecodeError:
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        return
    assert answer.code is grpc.StatusCode.OK
    (response,) = answer.responses
    decision = response.WhichOneof("http_response")
    assert decision in ("ok_response", "denied_response")
    headers = {item.header.key: item.header.value for item in getattr(response, decision).headers}
    assert all(fit_for_http(value) for value in headers.values()), data.hex()
    path = request.attributes.request.http.path.partition("?")[0]
    if decision == "ok_response" and path not in PUBLIC_METHODS:
        assert headers["x-causeway-tenant"] == claims_in(request)["tenant"], data.hex()


@fuzzed
@given(data=rate_limits())
async def test_a_request_is_counted_or_refused_by_each_of_its_descriptors(
    target: Target, channel: grpc.aio.Channel, data: bytes
) -> None:
    answer = await ask(target, channel, SHOULD_RATE_LIMIT, data)
    if answer.code is grpc.StatusCode.OK:
        (response,) = answer.responses
        request = parsed(SHOULD_RATE_LIMIT, data)
        assert len(response.statuses) == len(request.descriptors)  # type: ignore[attr-defined]
        headers = response.response_headers_to_add  # type: ignore[attr-defined]
        assert all(fit_for_http(item.value) for item in headers), data.hex()
    else:
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT


PARTS = st.lists(
    st.sampled_from([f"URI={INGRESS}", "By=", "Hash=1", "URI=", ";", ",", '"', "\\", "=", "uri=x", INGRESS]),
    max_size=8,
).map("".join)


@fuzzed
@given(before=PARTS, data=checks())
async def test_what_the_proxy_before_the_last_says_of_itself_lets_nobody_ask(
    target: Target, channel: grpc.aio.Channel, before: str, data: bytes
) -> None:
    metadata = (("x-forwarded-client-cert", f"{before},URI=spiffe://fuzz.test/somebody-else"),)
    for method in (CHECK, SHOULD_RATE_LIMIT):
        answer = await send(channel, method, [data], metadata, SECONDS)
        assert answer.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT), before

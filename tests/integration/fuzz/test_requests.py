"""No request whatever makes a service answer INTERNAL, give itself away, or fall over.

CAUSEWAY_FUZZ_EXAMPLES sets how many requests each method gets, made up anew at every run; without it some
two thousand in all are tried, the same each time.
"""

from __future__ import annotations

import os

import grpc
import pytest
from _pytest.mark import ParameterSet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz.methods import Method, all_methods
from fuzz.probe import complaint, send
from fuzz.target import Target
from fuzz.wire import requests

EXAMPLES = int(os.environ.get("CAUSEWAY_FUZZ_EXAMPLES", "0"))
QUICK, SLOW = 150, 10
"""Requests for each method when nothing else is asked for; fewer where a model runs."""
PATIENCE = {"retrieval": 5.0, "gateway": 2.0}
"""Seconds that a call of a slow service may take, and use up."""

METHODS = all_methods()


def cases(*, slow: bool) -> list[ParameterSet]:
    """The methods of the services with a model behind them, or of the others."""
    chosen = [method for method in METHODS if (method.domain in PATIENCE) is slow]
    return [pytest.param(method.domain, method, id=str(method)) for method in chosen]


def tried(times: int) -> settings:
    """So often, the same each time unless a number was asked for."""
    return settings(
        max_examples=EXAMPLES or times,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


async def attempt(target: Target, channel: grpc.aio.Channel, method: Method, data: st.DataObject) -> None:
    """One call, which must end well."""
    payloads = data.draw(st.lists(requests(method.request, target.known), min_size=1, max_size=3))
    patience = PATIENCE.get(target.domain, 20.0)
    answer = await send(channel, method, payloads, target.metadata, patience)
    reason = complaint(answer, slow=target.domain in PATIENCE)
    sent = str([payload.hex() for payload in payloads])[:4000]
    assert not reason, f"{reason}\nrequest: {sent}\nlog: {target.last_error()}"


def test_every_rpc_is_tried() -> None:
    tried_ids = [case.id for case in (*cases(slow=False), *cases(slow=True))]
    assert sorted(tried_ids) == sorted(str(method) for method in all_methods())
    assert QUICK * len(cases(slow=False)) + SLOW * len(cases(slow=True)) > 2000


@pytest.mark.timeout(0 if EXAMPLES else 120)
@pytest.mark.parametrize("target, method", cases(slow=False), indirect=["target"], scope="session")
@tried(QUICK)
@given(data=st.data())
async def test_no_request_breaks_a_service(
    target: Target, channel: grpc.aio.Channel, method: Method, data: st.DataObject
) -> None:
    await attempt(target, channel, method, data)


@pytest.mark.timeout(0 if EXAMPLES else 120)
@pytest.mark.parametrize("target, method", cases(slow=True), indirect=["target"], scope="session")
@tried(SLOW)
@given(data=st.data())
async def test_no_request_breaks_a_service_with_a_model(
    target: Target, channel: grpc.aio.Channel, method: Method, data: st.DataObject
) -> None:
    await attempt(target, channel, method, data)

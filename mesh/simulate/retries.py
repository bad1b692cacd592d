"""The tries of one request at the hosts of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.simulate.messages import Proto, seconds, wrapped
from mesh.simulate.upstream import Choice, Endpoint, Pool
from mesh.simulate.walk import Attempt

ON_RESET = frozenset({"5xx", "gateway-error", "reset", "connect-failure", "reset-before-request"})
"""Conditions under which a connection that fails is tried again. The gRPC ones are not among them: they look
at the status in an answer, and there is none.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on
"""

_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
_PREVIOUS_PRIORITIES = "envoy.retry_priorities.previous_priorities"
_SHOWN = 4
"""Tries foretold at most."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When and where a request is tried again."""

    attempts: int = 0
    """Beyond the first."""
    conditions: tuple[str, ...] = ()
    per_try: float = 0.0
    """Seconds; 0: none of its own."""
    other_hosts: bool = False
    """A host that was tried is avoided."""
    other_priorities: bool = False
    """The priorities that were tried are left out."""

    @property
    def after_reset(self) -> bool:
        """Whether a connection that fails is tried again."""
        return self.attempts > 0 and not ON_RESET.isdisjoint(self.conditions)

    @property
    def says(self) -> str:
        """In words."""
        if not self.attempts:
            return "no retries"
        times = "1 retry" if self.attempts == 1 else f"{self.attempts} retries"
        each = f", each try at most {self.per_try:g} s" if self.per_try else ""
        return f"{times} on {', '.join(self.conditions) or 'nothing'}{each}"


NEVER = Policy()


def policy_of(action: Proto, host: Proto) -> Policy:
    """That of a route, else of its virtual host."""
    policy = None
    for owner in (action, host):
        if policy is None and owner.HasField("retry_policy"):
            policy = owner.retry_policy
    if policy is None:
        return NEVER
    frequency = {item.name for item in policy.retry_host_predicate}
    return Policy(
        attempts=wrapped(policy, "num_retries", 1),
        conditions=tuple(word.strip() for word in policy.retry_on.split(",") if word.strip()),
        per_try=seconds(policy.per_try_timeout) if policy.HasField("per_try_timeout") else 0.0,
        other_hosts=_PREVIOUS_HOSTS in frequency,
        other_priorities=policy.HasField("retry_priority")
        and policy.retry_priority.name == _PREVIOUS_PRIORITIES,
    )


def tries(pool: Pool, policy: Policy, random: float | None) -> tuple[Attempt, ...]:
    """What happens: until a host takes it, or no more tries are allowed."""
    found: list[Attempt] = []
    for attempt in _sequence(pool, policy, random):
        dead = attempt.endpoint is not None and attempt.endpoint.down
        if attempt.endpoint is None:
            found.append(Attempt(attempt.number, attempt.choice, None, "no host can be chosen"))
            break
        failed = f"{attempt.endpoint.where} does not answer" if dead else ""
        found.append(Attempt(attempt.number, attempt.choice, attempt.endpoint, failed))
        if not dead or not policy.after_reset:
            break
    return tuple(found)


def foretold(pool: Pool, policy: Policy, random: float | None, after: int) -> tuple[Attempt, ...]:
    """The tries that would follow the first `after` if each of them failed."""
    if not policy.attempts:
        return ()
    everything = list(_sequence(pool, policy, random))
    return tuple(item for item in everything[after:_SHOWN] if item.endpoint is not None)


def _sequence(pool: Pool, policy: Policy, random: float | None) -> Iterator[Attempt]:
    choice: Choice = pool.choose()
    first = choice
    tried: list[Endpoint] = []
    for number in range(1, policy.attempts + 2):
        if tried and policy.other_priorities:
            choice = pool.retry(first, {item.priority for item in tried})
        avoid = [item.where for item in tried] if policy.other_hosts else []
        endpoint = choice.pick(random, avoid)
        yield Attempt(number, choice, endpoint)
        if endpoint is None:
            return
        tried.append(endpoint)

"""Envoy's JWT filter: is there a token, and whose?

https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/jwt_authn/v3/config.proto
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mesh.simulate import tables
from mesh.simulate.messages import Proto, which
from mesh.simulate.request import Facts, Token

METADATA = "envoy.filters.http.jwt_authn"
"""Filter name under which the claims are kept."""


class Standing(enum.Enum):
    """What became of the token."""

    GOOD = "good"
    MISSING = "missing"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Checked:
    """One requirement's outcome."""

    standing: Standing
    says: str
    provider: str = ""
    """That accepted the token."""
    passes: bool = True
    status: int = 401
    """That a refusal gets: 403 when the token is good, but for somebody else."""


def check(config: Proto, facts: Facts, requirement: str = "") -> Checked:
    """What the filter decides; `requirement` names the one that the route asks for, if it does."""
    if requirement:
        if requirement not in config.requirement_map:
            return Checked(
                Standing.BAD, f"the route asks for {requirement}, which there is not", passes=False
            )
        return meet(config, config.requirement_map[requirement], facts)
    for rule in config.rules:
        truth = tables.matches(rule.match, facts)
        if truth is False:
            continue
        kind = which(rule, "requirement_type")
        if kind == "requires":
            return meet(config, rule.requires, facts)
        if kind == "requirement_name":
            return check(config, facts, rule.requirement_name)
        return Checked(Standing.MISSING, "no token is asked for here")
    return Checked(Standing.MISSING, "no rule asks for a token here")


def meet(config: Proto, requirement: Proto, facts: Facts) -> Checked:
    """envoy…jwt_authn.v3.JwtRequirement."""
    kind = which(requirement, "requires_type")
    if kind == "provider_name":
        return _provider(config, requirement.provider_name, None, facts)
    if kind == "provider_and_audiences":
        named = requirement.provider_and_audiences
        return _provider(config, named.provider_name, tuple(named.audiences), facts)
    if kind == "requires_any":
        return _any(config, list(requirement.requires_any.requirements), facts)
    if kind == "requires_all":
        found = [meet(config, item, facts) for item in requirement.requires_all.requirements]
        failed = [item for item in found if not item.passes]
        return failed[0] if failed else found[-1]
    if kind == "allow_missing_or_failed":
        return Checked(Standing.MISSING, "a token is not required, and a bad one is passed over")
    if kind == "allow_missing":
        token = facts.request.token if facts.request else None
        if token is None:
            return Checked(Standing.MISSING, "no token, and none is required")
        return Checked(Standing.BAD, f"a token of {token.issuer}, which nobody here accepts", passes=False)
    return Checked(Standing.MISSING, "no token is asked for")


def _any(config: Proto, requirements: list[Proto], facts: Facts) -> Checked:
    found = [(which(item, "requires_type"), meet(config, item, facts)) for item in requirements]
    asked = [item for kind, item in found if not kind.startswith("allow_missing")]
    for item in asked:
        if item.passes and item.standing is Standing.GOOD:
            return item
    kinds = {kind for kind, _ in found}
    missing = all(item.standing is Standing.MISSING for item in asked)
    if "allow_missing_or_failed" in kinds:
        return Checked(Standing.MISSING, "no good token, and none is required")
    if "allow_missing" in kinds and missing:
        return Checked(Standing.MISSING, "no token, and none is required")
    bad = [item for item in asked if item.standing is Standing.BAD]
    return (bad or asked or [Checked(Standing.MISSING, "nothing is accepted", passes=False)])[0]


def _provider(config: Proto, name: str, audiences: tuple[str, ...] | None, facts: Facts) -> Checked:
    if name not in config.providers:
        return Checked(Standing.BAD, f"there is no provider {name}", passes=False)
    provider = config.providers[name]
    token = facts.request.token if facts.request else None
    if token is None or not _carried(provider, token):
        return Checked(Standing.MISSING, f"no token of {provider.issuer or name}", passes=False)
    if problem := _problem(provider, token):
        return Checked(Standing.BAD, problem, passes=False)
    wanted = tuple(provider.audiences) if audiences is None else audiences
    if wanted and not set(wanted) & set(token.audiences):
        problem = (
            f"the token is for {', '.join(token.audiences) or 'nobody'}, accepted is {', '.join(wanted)}"
        )
        return Checked(Standing.BAD, problem, passes=False, status=403)
    return Checked(Standing.GOOD, f"a token of {token.issuer} for {token.subject}", provider=name)


def _carried(provider: Proto, token: Token) -> bool:
    """Whether the token is where the provider looks; by default in `authorization`."""
    named = [item.name.lower() for item in provider.from_headers]
    if not named and not provider.from_params and not provider.from_cookies:
        named = ["authorization"]
    return token.header.lower() in named


def _problem(provider: Proto, token: Token) -> str:
    if provider.issuer and provider.issuer != token.issuer:
        return f"the token is of {token.issuer}, accepted is {provider.issuer}"
    if not token.genuine:
        return "the token is forged or has expired"
    return ""


def accepted(config: Proto, checked: Checked, facts: Facts) -> Facts:
    """What the filters behind see: claims as metadata and headers, the token gone unless it is forwarded."""
    request = facts.request
    if request is None or request.token is None or checked.standing is not Standing.GOOD:
        return facts
    provider, payload = config.providers[checked.provider], request.token.payload()
    for item in provider.claim_to_headers:
        value: object = payload
        for part in item.claim_name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str | int | bool):
            request = request.with_header(item.header_name, str(value))
    if provider.forward_payload_header:
        request = request.with_header(provider.forward_payload_header, "a-payload")
    facts = Facts(
        request=request,
        connection=facts.connection,
        metadata=facts.metadata,
        unknown_metadata=facts.unknown_metadata,
        remote=facts.remote,
    )
    if provider.payload_in_metadata:
        facts = facts.with_metadata(METADATA, {provider.payload_in_metadata: payload})
    return facts

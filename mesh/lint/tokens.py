"""Rules about JSON Web Tokens and external authorisation."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.lint.authorization import Policy, operations, policies, selector_of, sources
from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.routing import gateways_of
from mesh.lint.view import Mesh, http_routes
from mesh.manifests.gateway import Gateway
from mesh.manifests.manifests import Manifest
from mesh.manifests.mesh_config import IstioOperator
from mesh.manifests.message import position_of
from mesh.manifests.security import Action, RequestAuthentication
from mesh.manifests.security import Rule as PolicyRule
from mesh.resolve.labels import selects

_JWT = "https://istio.io/latest/docs/reference/config/security/request_authentication/"
_POLICY = "https://istio.io/latest/docs/reference/config/security/authorization-policy/"


def _together(mesh: Mesh, policy: Policy, tokens: Manifest[RequestAuthentication]) -> bool:
    """Whether some workload may be meant by both."""
    wanted = selector_of(policy)
    checked = tokens.spec.selector.match_labels if tokens.spec.selector else {}
    if mesh.root not in (policy.namespace, tokens.namespace) and policy.namespace != tokens.namespace:
        return False
    shared = wanted.keys() & checked.keys()
    return all(wanted[key] == checked[key] for key in shared)


def _asks(rule: PolicyRule) -> bool:
    """Whether a rule looks at a verified token."""
    return any(one.source and one.source.request_principals for one in rule.from_) or any(
        (condition.key or "").startswith("request.auth.") for condition in rule.when
    )


def nobody_checks(mesh: Mesh) -> Iterator[Problem]:
    """A token is verified before it is asked for."""
    for policy in policies(mesh, *Action):
        checkers = [
            tokens for tokens in mesh.manifests.of(RequestAuthentication) if _together(mesh, policy, tokens)
        ]
        if not checkers:
            for index, rule in enumerate(policy.spec.rules):
                if _asks(rule):
                    at = position_of(policy.spec, "rules", index)
                    message = "asks for a verified token, and no RequestAuthentication verifies any"
                    yield Problem(policy, at, message)
            continue
        issuers = {one.issuer for tokens in checkers for one in tokens.spec.jwt_rules}
        for source in sources(policy):
            for place, principal in enumerate(source.request_principals):
                issuer = principal.rpartition("/")[0]
                if issuer and "*" not in issuer and issuer not in issuers:
                    at = position_of(source, "request_principals", place)
                    yield Problem(policy, at, f"nobody verifies tokens of {issuer}")


def nobody_asks(mesh: Mesh) -> Iterator[Problem]:
    """A verified token is asked for."""
    for tokens in mesh.manifests.of(RequestAuthentication):
        if not tokens.spec.jwt_rules:
            continue
        asking = [
            policy
            for policy in policies(mesh, Action.ALLOW, Action.DENY)
            if _together(mesh, policy, tokens) and _requires(policy)
        ]
        if not asking:
            issuer = tokens.spec.jwt_rules[0].issuer
            message = f"tokens of {issuer} are verified, but a request without any passes"
            yield Problem(tokens, position_of(tokens.spec, "jwt_rules"), message)


def _requires(policy: Policy) -> bool:
    if any(_asks(rule) for rule in policy.spec.rules):
        return True
    return any(source.not_request_principals for source in sources(policy))


def audience_open(mesh: Mesh) -> Iterator[Problem]:
    """A token is meant for us."""
    for tokens in mesh.manifests.of(RequestAuthentication):
        for index, rule in enumerate(tokens.spec.jwt_rules):
            if not rule.audiences:
                at = position_of(tokens.spec, "jwt_rules", index)
                yield Problem(tokens, at, f"a token that {rule.issuer} made for another service passes here")


def keys_unprotected(mesh: Mesh) -> Iterator[Problem]:
    """Keys come over TLS."""
    for tokens in mesh.manifests.of(RequestAuthentication):
        for rule in tokens.spec.jwt_rules:
            if rule.jwks_uri and rule.jwks_uri.startswith("http://"):
                at = position_of(rule, "jwks_uri")
                yield Problem(tokens, at, f"the keys of {rule.issuer} are fetched in plaintext")


def unknown_provider(mesh: Mesh) -> Iterator[Problem]:
    """A CUSTOM policy's provider exists."""
    known = {provider.name for provider in mesh.manifests.mesh_config.extension_providers}
    for policy in policies(mesh, Action.CUSTOM):
        name = policy.spec.provider.name if policy.spec.provider else None
        if name not in known:
            at = position_of(policy.spec.provider, "name") if policy.spec.provider else policy.spec.at
            yield Problem(policy, at, f"meshConfig.extensionProviders has no {name}")


def open_when_down(mesh: Mesh) -> Iterator[Problem]:
    """Without a decision nobody passes."""
    operator = _operator(mesh)
    for provider in mesh.manifests.mesh_config.extension_providers:
        authorizer = provider.envoy_ext_authz_grpc or provider.envoy_ext_authz_http
        if authorizer is not None and authorizer.fail_open and operator is not None:
            message = f"while {authorizer.service} is down, everybody passes"
            yield Problem(operator, position_of(authorizer, "fail_open"), message)


def _operator(mesh: Mesh) -> Manifest[IstioOperator] | None:
    return next((one for one in mesh.manifests.of(IstioOperator) if one.spec.mesh_config is not None), None)


def preflight_refused(mesh: Mesh) -> Iterator[Problem]:
    """Browsers ask without a token."""
    for gateway in mesh.manifests.of(Gateway):
        name = f"{gateway.namespace}/{gateway.name}"
        if not any(route.cors_policy and name in gateways_of(vs) for vs, _, route in http_routes(mesh)):
            continue
        closed = [
            policy
            for policy in policies(mesh, Action.ALLOW)
            if policy.namespace in (gateway.namespace, mesh.root)
            and selects(selector_of(policy), gateway.spec.selector)
            and policy.spec.rules
        ]
        if not closed or any(_lets_options(rule) for policy in closed for rule in policy.spec.rules):
            continue
        message = f"browsers' OPTIONS requests to {name}, which carry no token, are refused"
        yield Problem(closed[0], position_of(closed[0].spec, "rules"), message)


def _lets_options(rule: PolicyRule) -> bool:
    if rule.from_ or rule.when:
        return False
    return not rule.to or any(
        one.operation is None or not one.operation.methods or "OPTIONS" in one.operation.methods
        for one in rule.to
    )


def asks_for_preflight(mesh: Mesh) -> Iterator[Problem]:
    """The authorizer is not asked about preflights."""
    for policy in policies(mesh, Action.CUSTOM):
        gateways = [
            gateway
            for gateway in mesh.manifests.of(Gateway)
            if policy.namespace in (gateway.namespace, mesh.root)
            and selects(selector_of(policy), gateway.spec.selector)
        ]
        names = {f"{gateway.namespace}/{gateway.name}" for gateway in gateways}
        cors = any(route.cors_policy and names & set(gateways_of(vs)) for vs, _, route in http_routes(mesh))
        named = [operation for operation in operations(policy) if operation.methods or operation.not_methods]
        if cors and not named:
            message = "the authorizer is asked about browsers' OPTIONS requests, which carry no token"
            yield Problem(policy, position_of(policy.spec, "rules"), message)


RULES = (
    Rule(
        id="jwt-not-verified",
        severity=Severity.ERROR,
        finds="requestPrincipals or request.auth.* in a policy, for an issuer whose tokens nobody verifies "
        "(IST0149).",
        why="Without a RequestAuthentication for the same workloads there is no verified token to look at: "
        "ALLOW lets nobody in, DENY refuses nobody.",
        fix="A RequestAuthentication with that issuer, in the same namespace and with the same selector.",
        source=_JWT,
        check=nobody_checks,
    ),
    Rule(
        id="jwt-not-required",
        severity=Severity.ERROR,
        finds="A RequestAuthentication whose workloads have no policy that asks for a token.",
        why="RequestAuthentication refuses bad tokens only. A request without any passes.",
        fix="An ALLOW policy with requestPrincipals, or a DENY policy with notRequestPrincipals: ['*'].",
        source=_JWT + "#RequestAuthentication",
        check=nobody_asks,
    ),
    Rule(
        id="jwt-audience-open",
        severity=Severity.WARNING,
        finds="A JWT rule without audiences.",
        why="Istio then checks none: a token that the issuer made for another service is good here too.",
        fix="audiences: the name that the issuer has for this platform.",
        source=_JWT + "#JWTRule",
        check=audience_open,
    ),
    Rule(
        id="jwt-keys-in-plaintext",
        severity=Severity.ERROR,
        finds="A jwksUri with http://.",
        why="Whoever is on the way can put in a key of their own, and sign tokens with it.",
        fix="https://, or jwks inline.",
        source=_JWT + "#JWTRule",
        check=keys_unprotected,
    ),
    Rule(
        id="authorizer-unknown",
        severity=Severity.ERROR,
        finds="A CUSTOM policy whose provider MeshConfig does not have.",
        why="Istio refuses every request to the workload, because it cannot ask.",
        fix="An entry in meshConfig.extensionProviders.",
        source=_POLICY + "#AuthorizationPolicy-ExtensionProvider",
        check=unknown_provider,
    ),
    Rule(
        id="authorizer-fails-open",
        severity=Severity.WARNING,
        finds="failOpen: true of an external authorizer.",
        why="Whoever can make it fail, by load for example, is let in.",
        fix="failOpen: false, with statusOnError 503 so that clients try again.",
        source="https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider",
        check=open_when_down,
    ),
    Rule(
        id="preflight-refused",
        severity=Severity.WARNING,
        finds="A Gateway with corsPolicy routes whose ALLOW policies let in no OPTIONS request without a "
        "token.",
        why="A browser's preflight carries no token and is refused before CORS is looked at: the page "
        "cannot call at all.",
        fix="A rule with methods: [OPTIONS] and nothing else; gRPC is never OPTIONS.",
        source="https://fetch.spec.whatwg.org/#cors-preflight-fetch",
        check=preflight_refused,
    ),
    Rule(
        id="authorizer-asked-about-preflight",
        severity=Severity.WARNING,
        finds="A CUSTOM policy at a Gateway with corsPolicy routes that does not say which methods it is "
        "about.",
        why="The authorizer sees preflights without a token, and refuses them.",
        fix="methods: [POST], or notMethods: [OPTIONS].",
        source="https://fetch.spec.whatwg.org/#cors-preflight-fetch",
        check=asks_for_preflight,
    ),
)

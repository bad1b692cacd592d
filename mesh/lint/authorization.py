"""Rules about AuthorizationPolicies: who may call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.lint.calls import identity
from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.view import Mesh
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import position_of
from mesh.manifests.security import Action, AuthorizationPolicy, MutualTLSMode, Operation, Source
from mesh.manifests.security import Rule as PolicyRule

_POLICY = "https://istio.io/latest/docs/reference/config/security/authorization-policy/"
_PRACTICES = "https://istio.io/latest/docs/ops/best-practices/security/"
_PROBLEMS = "https://istio.io/latest/docs/ops/common-problems/security-issues/"

Policy = Manifest[AuthorizationPolicy]


def action_of(policy: Policy) -> Action:
    """ALLOW when nothing is said."""
    return policy.spec.action or Action.ALLOW


def selector_of(policy: Policy) -> Mapping[str, str]:
    """Labels; empty: all workloads of its namespace."""
    return policy.spec.selector.match_labels if policy.spec.selector else {}


def policies(mesh: Mesh, *actions: Action) -> Iterator[Policy]:
    """Those with one of these actions."""
    for policy in mesh.manifests.of(AuthorizationPolicy):
        if action_of(policy) in actions:
            yield policy


def sources(policy: Policy) -> Iterator[Source]:
    """Every source that a policy names."""
    for rule in policy.spec.rules:
        yield from (one.source for one in rule.from_ if one.source)


def operations(policy: Policy) -> Iterator[Operation]:
    """Every operation that a policy names."""
    for rule in policy.spec.rules:
        yield from (one.operation for one in rule.to if one.operation)


def _everything(rule: PolicyRule) -> bool:
    return not rule.from_ and not rule.to and not rule.when


def denies_everything(mesh: Mesh) -> Iterator[Problem]:
    """An empty rule is not an absent one."""
    for policy in policies(mesh, Action.ALLOW):
        if not policy.spec.rules and (selector_of(policy) or policy.spec.action is not None):
            at = position_of(policy.spec, "rules")
            yield Problem(policy, at, "ALLOW without rules matches nothing: nobody is let in")
    for policy in policies(mesh, Action.DENY):
        for index, rule in enumerate(policy.spec.rules):
            if _everything(rule):
                at = position_of(policy.spec, "rules", index)
                yield Problem(policy, at, "DENY with an empty rule matches every request: nobody is let in")


def denies_nobody_allowed(mesh: Mesh) -> Iterator[Problem]:
    """A namespace that is closed has doors."""
    for policy in policies(mesh, Action.ALLOW):
        if policy.spec.rules or selector_of(policy) or policy.spec.action is not None:
            continue
        others = [
            other
            for other in policies(mesh, Action.ALLOW)
            if other.spec.rules and (policy.namespace in (mesh.root, other.namespace))
        ]
        if not others:
            where = "the whole mesh" if policy.namespace == mesh.root else policy.namespace
            yield Problem(policy, policy.at, f"{where} is closed, and no ALLOW policy opens any of it")


def allows_everything(mesh: Mesh) -> Iterator[Problem]:
    """An empty ALLOW rule undoes the others."""
    for policy in policies(mesh, Action.ALLOW):
        for index, rule in enumerate(policy.spec.rules):
            if _everything(rule):
                at = position_of(policy.spec, "rules", index)
                yield Problem(policy, at, "an empty rule matches every request: everybody is let in")


def odd_principals(mesh: Mesh) -> Iterator[Problem]:
    """Principals have no scheme, and five parts."""
    for policy in policies(mesh, *Action):
        for source in sources(policy):
            for name in ("principals", "not_principals"):
                for index, principal in enumerate(getattr(source, name)):
                    reason = _odd(mesh, principal)
                    if reason:
                        at = position_of(source, name, index)
                        yield Problem(policy, at, f"{principal!r} is nobody: {reason}")


def _odd(mesh: Mesh, principal: str) -> str | None:
    if "*" in principal.strip("*"):
        return "a * stands only at its beginning or its end"
    if "*" in principal:
        return None
    parts = principal.split("/")
    if identity(principal) is None:
        return "it is <trust domain>/ns/<namespace>/sa/<service account>"
    if parts[0] not in mesh.trust_domains:
        return f"the trust domain is {' or '.join(sorted(mesh.trust_domains))}"
    return None


def unknown_principals(mesh: Mesh) -> Iterator[Problem]:
    """Principals are somebody's."""
    known = {(workload.namespace, workload.service_account) for workload in mesh.workloads}
    namespaces = {namespace for namespace, _ in known}
    for policy in policies(mesh, *Action):
        for source in sources(policy):
            for index, principal in enumerate(source.principals):
                who = identity(principal)
                if who is not None and who[0] in namespaces and who not in known:
                    message = f"no workload in {who[0]} has the service account {who[1]}"
                    yield Problem(policy, position_of(source, "principals", index), message)


def needs_mutual_tls(mesh: Mesh) -> Iterator[Problem]:
    """Who calls is known by mutual TLS alone."""
    names = (
        *("principals", "not_principals", "namespaces", "not_namespaces"),
        *("service_accounts", "not_service_accounts", "trust_domains", "not_trust_domains"),
    )
    for policy in policies(mesh, *Action):
        mode = mesh.mutual_tls(policy.namespace, selector_of(policy))
        said = any(True for _ in mesh.manifests)
        if mode is MutualTLSMode.STRICT or not said:
            continue
        for source in sources(policy):
            used = [name for name in names if getattr(source, name)]
            if used:
                word = position_of(source, used[0]).path.rpartition(".")[2]
                message = f"{word} is empty for callers in plaintext, who are let in by {mode.value}"
                yield Problem(policy, position_of(source, used[0]), message)


def only_negative(mesh: Mesh) -> Iterator[Problem]:
    """ALLOW what is named, not all but what is named."""
    for policy in policies(mesh, Action.ALLOW):
        for index, rule in enumerate(policy.spec.rules):
            parts = [one.source for one in rule.from_ if one.source]
            parts_to = [one.operation for one in rule.to if one.operation]
            fields = [
                name
                for part in (*parts, *parts_to)
                for name in part.__dataclass_fields__
                if name not in ("at", "places") and getattr(part, name)
            ]
            positive_when = any(condition.values for condition in rule.when)
            if fields and all(name.startswith("not_") for name in fields) and not positive_when:
                at = position_of(policy.spec, "rules", index)
                yield Problem(policy, at, "everything is let in but what is named here")


def odd_paths(mesh: Mesh) -> Iterator[Problem]:
    """Paths begin with a slash."""
    for policy in policies(mesh, *Action):
        for operation in operations(policy):
            for name in ("paths", "not_paths"):
                for index, path in enumerate(getattr(operation, name)):
                    if not path.startswith(("/", "*")):
                        at = position_of(operation, name, index)
                        yield Problem(policy, at, f"{path!r} matches nothing: a path begins with /")
                    elif "*" in path.strip("*") and "{" not in path:
                        at = position_of(operation, name, index)
                        yield Problem(policy, at, f"{path!r}: a * in the middle is an ordinary character")


def grpc_methods(mesh: Mesh) -> Iterator[Problem]:
    """gRPC is always POST."""
    for policy in policies(mesh, Action.ALLOW):
        for operation in operations(policy):
            known = [path for path in operation.paths if path in mesh.methods or _is_service(mesh, path)]
            if (
                known
                and operation.methods
                and "POST" not in operation.methods
                and "*" not in operation.methods
            ):
                at = position_of(operation, "methods")
                yield Problem(policy, at, f"{known[0]} is gRPC, whose method is always POST")


def _is_service(mesh: Mesh, path: str) -> bool:
    return path.endswith("/*") and any(known.startswith(path[:-1]) for known in mesh.methods)


def unknown_methods(mesh: Mesh) -> Iterator[Problem]:
    """Paths of RPCs are written as the protos have them."""
    packages = {path.split("/")[1].rpartition(".")[0] for path in mesh.methods}
    for policy in policies(mesh, *Action):
        for operation in operations(policy):
            for index, path in enumerate(operation.paths):
                service = path.strip("/").partition("/")[0]
                if service.rpartition(".")[0] not in packages or path in mesh.methods:
                    continue
                if not _is_service(mesh, path):
                    yield Problem(
                        policy, position_of(operation, "paths", index), f"no proto has the RPC {path}"
                    )


def host_without_port(mesh: Mesh) -> Iterator[Problem]:
    """An authority may have a port."""
    for policy in policies(mesh, *Action):
        for operation in operations(policy):
            for name in ("hosts", "not_hosts"):
                written = getattr(operation, name)
                for index, host in enumerate(written):
                    if ":" in host or host.endswith("*"):
                        continue
                    if not any(other.startswith(f"{host}:") for other in written):
                        at = position_of(operation, name, index)
                        yield Problem(policy, at, f"{host} does not match {host}:443, which is the same host")


def http_rules_on_tcp(mesh: Mesh) -> Iterator[Problem]:
    """A TCP port has no paths."""
    for policy in policies(mesh, Action.ALLOW, Action.DENY):
        ports = [
            port
            for workload in mesh.selected(policy.namespace, selector_of(policy))
            for service in mesh.services_of(workload)
            for port in service.ports
        ]
        if not ports or not all(port.protocol in ("TCP", "TLS") for port in ports):
            continue
        for operation in operations(policy):
            used = [name for name in ("paths", "methods", "hosts") if getattr(operation, name)]
            if used:
                effect = "lets nobody in" if action_of(policy) is Action.ALLOW else "refuses every connection"
                message = f"on a TCP port there are no {used[0]}; the rule {effect}"
                yield Problem(policy, position_of(operation, used[0]), message)


RULES = (
    Rule(
        id="policy-denies-everything",
        severity=Severity.ERROR,
        finds="ALLOW with a selector or an action but no rules, or DENY with an empty rule.",
        why="`rules: []` matches nothing, `rules: [{}]` matches everything; with ALLOW and DENY they mean "
        "the opposite of each other.",
        fix="Name who may call. To close a namespace on purpose write `spec: {}`, which says so.",
        source=_POLICY,
        check=denies_everything,
    ),
    Rule(
        id="namespace-closed",
        severity=Severity.ERROR,
        finds="A namespace that `spec: {}` closes and that no ALLOW policy opens.",
        why="Every call into it is refused.",
        fix="An ALLOW policy for each service.",
        source=_PROBLEMS,
        check=denies_nobody_allowed,
    ),
    Rule(
        id="policy-allows-everything",
        severity=Severity.WARNING,
        finds="ALLOW with an empty rule.",
        why="What one ALLOW policy lets in is in: the workload's other ALLOW policies mean nothing any more.",
        fix="Name who may call.",
        source=_POLICY,
        check=allows_everything,
    ),
    Rule(
        id="principal-malformed",
        severity=Severity.ERROR,
        finds="A principal that no certificate can have.",
        why="An ALLOW rule then lets nobody in, and a DENY rule refuses nobody.",
        fix="As in cluster.local/ns/causeway/sa/gateway.",
        source=_POLICY + "#Source",
        check=odd_principals,
    ),
    Rule(
        id="principal-unknown",
        severity=Severity.WARNING,
        finds="A principal whose service account no workload of its namespace has.",
        why="Its calls are refused under the name that it really has.",
        fix="The service account of the caller's workloads.",
        source=_POLICY + "#Source",
        check=unknown_principals,
    ),
    Rule(
        id="principal-without-mtls",
        severity=Severity.ERROR,
        finds="Principals, namespaces or service accounts in a policy for workloads that take plaintext.",
        why="A caller in plaintext has none. It passes every rule that only names whom not to let in, and "
        "Istio cannot tell who it was.",
        fix="STRICT mutual TLS for these workloads.",
        source=_POLICY + "#Source",
        check=needs_mutual_tls,
    ),
    Rule(
        id="allow-by-exception",
        severity=Severity.WARNING,
        finds="An ALLOW rule of negative matches alone (notPaths, notPrincipals, …).",
        why="What nobody thought of is let in: a new path, a path written in another way.",
        fix="ALLOW what is named; put exceptions into a DENY policy.",
        source=_PRACTICES + "#use-allow-with-positive-matching-and-deny-with-negative-match-patterns",
        check=only_negative,
    ),
    Rule(
        id="policy-path-malformed",
        severity=Severity.ERROR,
        finds="A path without a leading slash, or with a * in its middle.",
        why="It matches nothing: `*` means something only at the beginning or the end, else `{*}` and "
        "`{**}` do.",
        fix="As in /causeway.session.v1.MessageService/*.",
        source=_POLICY + "#Operation",
        check=odd_paths,
    ),
    Rule(
        id="grpc-is-post",
        severity=Severity.ERROR,
        finds="An RPC allowed for other HTTP methods than POST.",
        why="gRPC calls are POST requests, whatever they do: nobody is let in.",
        fix="methods: [POST].",
        source="https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md",
        check=grpc_methods,
    ),
    Rule(
        id="rpc-unknown",
        severity=Severity.ERROR,
        finds="The path of an RPC of the platform's own packages that no proto declares.",
        why="Paths are compared letter by letter: after a rename the call is refused.",
        fix="/package.Service/Method as the proto has it.",
        source=_POLICY + "#Operation",
        check=unknown_methods,
    ),
    Rule(
        id="policy-host-without-port",
        severity=Severity.WARNING,
        finds="A host in a policy without its form with a port.",
        why="Clients may write the port into the authority: example.com:443 passes a DENY for example.com.",
        fix="Both example.com and example.com:*.",
        source=_PRACTICES + "#understand-traffic-capture-limitations",
        check=host_without_port,
    ),
    Rule(
        id="http-rule-on-tcp-port",
        severity=Severity.ERROR,
        finds="Paths, methods or hosts in a policy for workloads with TCP ports only.",
        why="What cannot be known does not match in ALLOW and is ignored in DENY: one lets nobody in, the "
        "other refuses everybody.",
        fix="Principals, ports and addresses, or declare the port's protocol.",
        source=_PROBLEMS + "#make-sure-you-are-not-using-http-only-fields-on-tcp-ports",
        check=http_rules_on_tcp,
    ),
)

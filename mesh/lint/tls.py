"""Rules about mutual TLS, certificates and TLS at the edge."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.lint.finding import Problem, Rule, Severity
from mesh.lint.view import Mesh, levels
from mesh.manifests.destination_rule import ClientTLSMode
from mesh.manifests.gateway import Gateway, Server, ServerTLSMode, TLSProtocol
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import position_of
from mesh.manifests.security import MutualTLSMode, PeerAuthentication
from mesh.resolve.names import overlaps

_MTLS = "https://istio.io/latest/docs/reference/config/security/peer_authentication/"
_ANALYSIS = "https://istio.io/latest/docs/reference/config/analysis/"
_TLS_PROTOCOLS = ("HTTPS", "TLS")


def plaintext_against_strict(mesh: Mesh) -> Iterator[Problem]:
    """Clients speak what servers ask for."""
    for level in levels(mesh):
        mode = level.tls.mode if level.tls else None
        if level.tls is None or mode in (None, ClientTLSMode.ISTIO_MUTUAL):
            continue
        rule = level.manifest
        for service in mesh.find(rule.spec.host or "", rule.namespace):
            chosen = mesh.workloads_of(service)
            strict = [
                workload
                for workload in chosen
                if mesh.mutual_tls(workload.namespace, workload.labels) is MutualTLSMode.STRICT
            ]
            inside = chosen or (service.selector is not None)
            default = mesh.mutual_tls(service.namespace, {}) is MutualTLSMode.STRICT
            if strict or (inside and not chosen and default):
                message = f"{service.host} takes mutual TLS only, and is called with tls.mode {mode.value}"
                yield Problem(rule, position_of(level.tls, "mode"), message)
                break
        else:
            if not mesh.find(rule.spec.host or "", rule.namespace) and _in_cluster(level.manifest.spec.host):
                namespace = (level.manifest.spec.host or "").split(".")[1:2] or [rule.namespace]
                if mesh.mutual_tls(namespace[0], {}) is MutualTLSMode.STRICT:
                    message = (
                        f"{rule.spec.host} takes mutual TLS only, and is called with tls.mode {mode.value}"
                    )
                    yield Problem(rule, position_of(level.tls, "mode"), message)


def _in_cluster(host: str | None) -> bool:
    return bool(host) and ("." not in str(host) or str(host).endswith(".svc.cluster.local"))


def not_strict(mesh: Mesh) -> Iterator[Problem]:
    """Plaintext is refused."""
    for policy in mesh.manifests.of(PeerAuthentication):
        settings = [(policy.spec.mtls, position_of(policy.spec, "mtls"), "")]
        settings += [
            (setting, position_of(policy.spec, "port_level_mtls", str(port)), f" on port {port}")
            for port, setting in policy.spec.port_level_mtls.items()
        ]
        for setting, at, where in settings:
            mode = setting.mode if setting else None
            if mode in (MutualTLSMode.PERMISSIVE, MutualTLSMode.DISABLE):
                yield Problem(policy, at, f"{mode.value} lets callers without an identity in{where}")


def strict_nowhere(mesh: Mesh) -> Iterator[Problem]:
    """Without any PeerAuthentication plaintext passes."""
    if not mesh.workloads or mesh.mutual_tls(mesh.root, {}) is MutualTLSMode.STRICT:
        return
    reported: set[str] = set()
    for workload in mesh.workloads:
        said = [
            policy
            for policy in mesh.manifests.of(PeerAuthentication)
            if policy.namespace in (workload.namespace, mesh.root)
        ]
        if not said and workload.namespace not in reported:
            reported.add(workload.namespace)
            message = f"nothing asks for mutual TLS in {workload.namespace}: the default is PERMISSIVE"
            yield Problem(workload.manifest, workload.manifest.at, message)


def port_is_not_the_workloads(mesh: Mesh) -> Iterator[Problem]:
    """portLevelMtls means the workload's port."""
    for policy in mesh.manifests.of(PeerAuthentication):
        selector = policy.spec.selector.match_labels if policy.spec.selector else {}
        if not selector:
            continue
        for workload in mesh.selected(policy.namespace, selector):
            ports = [port for service in mesh.services_of(workload) for port in service.ports]
            targets = {port.target or port.number for port in ports}
            for number in policy.spec.port_level_mtls:
                called = next((port for port in ports if port.number == number), None)
                if called is not None and number not in targets:
                    message = f"{number} is the service's port; the workload listens on {called.target}"
                    at = position_of(policy.spec, "port_level_mtls", str(number))
                    yield Problem(policy, at, message)
            break


def unverified_server(mesh: Mesh) -> Iterator[Problem]:
    """A server's certificate is checked."""
    for level in levels(mesh):
        tls = level.tls
        if tls is None or tls.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
            continue
        host = level.manifest.spec.host
        if tls.insecure_skip_verify:
            message = f"whoever answers for {host} is believed"
            yield Problem(level.manifest, position_of(tls, "insecure_skip_verify"), message)
        elif not tls.ca_certificates:
            message = f"{host}: any certificate of any public authority is believed"
            yield Problem(level.manifest, position_of(tls, "mode"), message)


def plaintext_at_the_edge(mesh: Mesh) -> Iterator[Problem]:
    """People come in by TLS."""
    for gateway, index, server in _servers(mesh):
        protocol = (server.port.protocol or "").upper() if server.port else ""
        redirects = server.tls is not None and server.tls.https_redirect
        secured = server.tls is not None and server.tls.mode is not None
        if protocol in ("HTTP", "HTTP2", "GRPC", "GRPC-WEB") and not redirects and not secured:
            number = server.port.number if server.port else "?"
            message = f"port {number} takes {protocol} in plaintext"
            yield Problem(gateway, position_of(gateway.spec, "servers", index), message)


def old_tls(mesh: Mesh) -> Iterator[Problem]:
    """TLS 1.0 and 1.1 are gone."""
    for gateway, _, server in _servers(mesh):
        tls = server.tls
        if tls and tls.min_protocol_version in (TLSProtocol.TLSV1_0, TLSProtocol.TLSV1_1):
            version = tls.min_protocol_version.value
            yield Problem(gateway, position_of(tls, "min_protocol_version"), f"{version} is accepted")


def gateways_collide(mesh: Mesh) -> Iterator[Problem]:
    """One server answers for a port and a host."""
    seen: list[tuple[Manifest[Gateway], Server]] = []
    for gateway, index, server in _servers(mesh):
        for other, theirs in seen:
            if other.spec.selector != gateway.spec.selector or not (server.port and theirs.port):
                continue
            if server.port.number != theirs.port.number or server.bind != theirs.bind:
                continue
            both = [
                mine
                for mine in server.hosts
                for host in theirs.hosts
                if overlaps(mine.rpartition("/")[2], host.rpartition("/")[2]) and mine == host
            ]
            if both:
                message = f"port {server.port.number} of {', '.join(both)} is {other}'s ({other.at}) already"
                yield Problem(gateway, position_of(gateway.spec, "servers", index), message)
        seen.append((gateway, server))


def certificate_shared(mesh: Mesh) -> Iterator[Problem]:
    """One certificate in several Gateways."""
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], Manifest[Gateway]] = {}
    for gateway, _, server in _servers(mesh):
        tls = server.tls
        if tls is None or not tls.credential_name or tls.mode is ServerTLSMode.PASSTHROUGH:
            continue
        key = (tls.credential_name, tuple(sorted(gateway.spec.selector.items())))
        first = seen.setdefault(key, gateway)
        if first is not gateway:
            message = f"{tls.credential_name} is the certificate of {first} too"
            yield Problem(gateway, position_of(tls, "credential_name"), message)


def _servers(mesh: Mesh) -> Iterator[tuple[Manifest[Gateway], int, Server]]:
    for gateway in mesh.manifests.of(Gateway):
        for index, server in enumerate(gateway.spec.servers):
            yield gateway, index, server


RULES = (
    Rule(
        id="mtls-conflict",
        severity=Severity.ERROR,
        finds="A DestinationRule with another tls.mode than ISTIO_MUTUAL for a service that takes mutual "
        "TLS only (IST0113).",
        why="The connection is closed in its handshake: every call gets 503 (connection termination).",
        fix="tls.mode: ISTIO_MUTUAL, or no tls at all (auto mTLS).",
        source=_ANALYSIS + "ist0113/",
        check=plaintext_against_strict,
    ),
    Rule(
        id="mtls-not-strict",
        severity=Severity.WARNING,
        finds="PERMISSIVE or DISABLE in a PeerAuthentication.",
        why="A caller in plaintext has no identity: rules on principals and namespaces do not see who it is.",
        fix="STRICT; during a migration, for the one workload or port that still needs it.",
        source=_MTLS,
        check=not_strict,
    ),
    Rule(
        id="mtls-not-asked-for",
        severity=Severity.WARNING,
        finds="Workloads in a namespace for which no PeerAuthentication says anything.",
        why="Istio's default is PERMISSIVE: plaintext is accepted.",
        fix="A PeerAuthentication with STRICT in the root namespace.",
        source=_MTLS,
        check=strict_nowhere,
    ),
    Rule(
        id="port-mtls-of-service-port",
        severity=Severity.ERROR,
        finds="portLevelMtls for the service's port, where the workload listens on another.",
        why="The number is compared with the workload's own port, so nothing changes.",
        fix="The targetPort.",
        source=_MTLS + "#PeerAuthentication",
        check=port_is_not_the_workloads,
    ),
    Rule(
        id="server-certificate-unverified",
        severity=Severity.WARNING,
        finds="tls.mode SIMPLE or MUTUAL without caCertificates, or with insecureSkipVerify (IST0128, "
        "IST0129).",
        why="Without caCertificates older versions verify nothing, and newer ones believe every public "
        "authority; with insecureSkipVerify whoever answers is believed.",
        fix="caCertificates, and subjectAltNames when the name dialled is not the certificate's.",
        source=_ANALYSIS + "ist0128/",
        check=unverified_server,
    ),
    Rule(
        id="gateway-plaintext",
        severity=Severity.WARNING,
        finds="A Gateway's port that takes HTTP without TLS and without httpsRedirect.",
        why="Tokens cross the network readable by anybody.",
        fix="tls with a credentialName, or httpsRedirect: true.",
        source="https://istio.io/latest/docs/ops/best-practices/security/#configure-tls-verification-in-destination-rule-when-using-tls-origination",
        check=plaintext_at_the_edge,
    ),
    Rule(
        id="gateway-old-tls",
        severity=Severity.WARNING,
        finds="minProtocolVersion below TLS 1.2.",
        why="TLS 1.0 and 1.1 are deprecated (RFC 8996).",
        fix="TLSV1_2, or leave it out.",
        source="https://www.rfc-editor.org/rfc/rfc8996",
        check=old_tls,
    ),
    Rule(
        id="gateways-conflict",
        severity=Severity.ERROR,
        finds="Two servers of Gateways with the same selector for the same port and host (IST0145).",
        why="One of them is taken, and which one is not said.",
        fix="One server, or different hosts.",
        source=_ANALYSIS + "ist0145/",
        check=gateways_collide,
    ),
    Rule(
        id="gateway-certificate-shared",
        severity=Severity.WARNING,
        finds="Several Gateways of the same proxies with the same certificate (IST0138).",
        why="Browsers reuse an HTTP/2 connection for every host its certificate names; the other Gateway's "
        "hosts are then asked for on the wrong one, and get 404.",
        fix="One Gateway with all hosts of a certificate.",
        source=_ANALYSIS + "ist0138/",
        check=certificate_shared,
    ),
)

"""Gateway."""

from __future__ import annotations

from mesh.manifests.checks import ranges
from mesh.manifests.checks.names import check_labels, check_namespaced_host, is_dns_label, is_ip
from mesh.manifests.findings import Findings
from mesh.manifests.gateway import Gateway, Server, ServerTLSMode, ServerTLSSettings, TLSProtocol
from mesh.manifests.manifests import Manifest
from mesh.manifests.message import shown

CIPHER_SUITES = frozenset(
    {
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
        "AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-SHA", "AES128-SHA", "DES-CBC3-SHA",
    }
)  # fmt: skip
"""https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/common.proto"""
_ORDER = (TLSProtocol.TLSV1_0, TLSProtocol.TLSV1_1, TLSProtocol.TLSV1_2, TLSProtocol.TLSV1_3)
_FILES = ("server_certificate", "private_key", "ca_certificates")


def check_gateway(manifest: Manifest[Gateway], findings: Findings) -> None:
    """Servers with ports of their own names."""
    gateway = manifest.spec
    if not is_dns_label(manifest.name):
        findings.check(manifest.at, f"the name of a Gateway must be one label, not `{shown(manifest.name)}`")
    if not gateway.servers:
        findings.field(gateway, "servers", "must have at least one server")
    check_labels(gateway, "selector", gateway.selector, findings)
    names: set[str] = set()
    for server in gateway.servers:
        _check_server(server, findings)
        name = server.port.name if server.port is not None else None
        if server.port is not None and name is not None:
            if name in names:
                findings.field(server.port, "name", f"there are two ports {shown(name)}")
            names.add(name)


def _check_server(server: Server, findings: Findings) -> None:
    if not server.hosts:
        findings.field(server, "hosts", "must name at least one host")
    for index, host in enumerate(server.hosts):
        check_namespaced_host(server, index, host, findings, gateway=True)
    if server.bind is not None and not is_ip(server.bind):
        findings.field(server, "bind", f"`{shown(server.bind)}` is not an IP address")
    port, tls = server.port, server.tls
    if port is None:
        findings.field(server, "port", "is missing")
        return
    ranges.check_port(port, "number", port.number, findings)
    ranges.check_protocol(port, port.protocol, findings)
    if port.name is None:
        findings.field(port, "name", "is missing")
    if ranges.is_tls(port.protocol) and tls is None:
        findings.field(server, "tls", f"is missing: the port's protocol is {port.protocol}")
    elif tls is not None and not ranges.is_tls(port.protocol):
        _check_plain(server, tls, http=ranges.is_http(port.protocol), findings=findings)
    if tls is not None:
        _check_tls(tls, findings)
        if tls.https_redirect and not ranges.is_http(port.protocol):
            findings.field(tls, "https_redirect", "is for ports in plain HTTP alone")


def _check_plain(server: Server, tls: ServerTLSSettings, *, http: bool, findings: Findings) -> None:
    """On a port without TLS, only the redirect to one with it means something."""
    secured = tls.mode not in (None, ServerTLSMode.PASSTHROUGH) or any(getattr(tls, name) for name in _FILES)
    if not http or secured or tls.credential_name is not None:
        findings.field(server, "tls", "must not stand beside a port in plain text, httpsRedirect excepted")


def _check_tls(tls: ServerTLSSettings, findings: Findings) -> None:
    seen: set[str] = set()
    for index, suite in enumerate(tls.cipher_suites):
        if suite not in CIPHER_SUITES:
            findings.field(tls, "cipher_suites", f"`{shown(suite)}` is not a suite of Envoy's", index)
        elif suite in seen:
            findings.field(tls, "cipher_suites", f"{suite} is there twice", index)
        seen.add(suite)
    low, high = tls.min_protocol_version, tls.max_protocol_version
    if low in _ORDER and high in _ORDER and _ORDER.index(low) > _ORDER.index(high):
        findings.field(tls, "max_protocol_version", f"is below minProtocolVersion {low.value}")
    present = [name for name in (*_FILES, "credential_name") if getattr(tls, name) is not None]
    if tls.mode in (ServerTLSMode.ISTIO_MUTUAL, ServerTLSMode.PASSTHROUGH):
        for name in present:
            findings.field(
                tls, name, f"must not stand beside {tls.mode.value}, which shows no certificate of its own"
            )
        return
    if tls.mode is None or tls.credential_name is not None:
        if tls.credential_name is not None:
            for name in [name for name in present if name != "credential_name"]:
                findings.field(tls, name, "must not stand beside credentialName")
        return
    needed = _FILES if tls.mode in (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL) else _FILES[:2]
    for name in needed:
        if getattr(tls, name) is None:
            findings.field(tls, name, f"is missing: {tls.mode.value} needs it, or credentialName")

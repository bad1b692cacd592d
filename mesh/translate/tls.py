"""TLS on both sides of a proxy. Keys and certificates are never in here: they are asked for over SDS by name.

`default` is the proxy's own identity and `ROOTCA` whom it trusts, as Istio names them; a gateway's
certificates are `kubernetes://<credentialName>` and, for its clients' authority,
`kubernetes://<credentialName>-cacert`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from mesh.ir.cluster import Cluster, UpstreamTls, UpstreamTlsMode
from mesh.ir.security import ServerTls, ServerTlsMode
from mesh.ir.values import MatchKind, StringMatcher
from mesh.ir.view import ProxyView
from mesh.translate.names import RAW_BUFFER, TLS, server_name
from mesh.translate.packing import Proto, boolean, empty, over_ads, pack, string_match
from mesh.xds.protos import base_pb2, raw_buffer_pb2, secret_pb2, tls_common_pb2, tls_pb2

OWN = "default"
ROOTS = "ROOTCA"
CREDENTIAL = "kubernetes://"
AUTHORITY = "-cacert"

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""What SIMPLE and MUTUAL verify with when the DestinationRule names no authority."""

PLAINTEXT_HOST = "tlsMode-disabled"
PLAINTEXT_LABEL = ("tlsMode", "disabled")
"""Metadata of a host that cannot speak mutual TLS. The exception is marked, not the rule: a host whose mark
is lost is dialled with TLS and refuses, instead of being sent plaintext."""

_HTTP_PROTOCOLS = ("h2", "http/1.1")
_WITH_CREDENTIAL = (ServerTlsMode.SIMPLE, ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL)
_SUBJECTS = tls_common_pb2.SubjectAltNameMatcher


def upstream(cluster: Cluster) -> Proto | None:
    """The transport socket for a cluster's hosts; None for plaintext."""
    tls = cluster.tls
    if tls is None or tls.mode is UpstreamTlsMode.DISABLE:
        return None
    common = tls_pb2.CommonTlsContext(
        tls_params=_parameters(), alpn_protocols=["h2"] if speaks_http2(cluster) else []
    )
    if tls.mode is UpstreamTlsMode.ISTIO_MUTUAL:
        common.tls_certificate_sds_secret_configs.append(_secret(OWN))
        _verify(common, _subjects(tls.identities, cluster.names), _secret(ROOTS))
        sni = tls.sni or server_name(cluster.name)
    else:
        if tls.mode is UpstreamTlsMode.MUTUAL:
            common.tls_certificates.append(_files(tls.certificate_file, tls.key_file))
        if not tls.skip_verify:
            common.validation_context.CopyFrom(_trust(tls, cluster))
        sni = tls.sni
    return _socket(tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=sni))


def verifies_by_dialled_name(tls: UpstreamTls | None) -> bool:
    """Whether the server must prove the name that was asked for: nothing else is said of its name."""
    if tls is None or tls.mode not in (UpstreamTlsMode.SIMPLE, UpstreamTlsMode.MUTUAL):
        return False
    return not (tls.sni or tls.identities or tls.skip_verify)


def speaks_http2(cluster: Cluster) -> bool:
    """Whether HTTP/2 is spoken to the hosts without negotiation."""
    return cluster.http2 or cluster.pool.upgrade_to_http2


def plaintext() -> Proto:
    """The transport socket that adds nothing."""
    return base_pb2.TransportSocket(name=RAW_BUFFER, typed_config=empty(raw_buffer_pb2.RawBuffer))


@cache
def inbound(trust_domain: str, *, http: bool) -> Proto:
    """A sidecar's side of mutual TLS: any identity of the trust domain, and never none.

    Shared between listeners, so nobody may change it.
    """
    common = tls_pb2.CommonTlsContext(
        tls_params=_parameters(), alpn_protocols=_HTTP_PROTOCOLS if http else ()
    )
    common.tls_certificate_sds_secret_configs.append(_secret(OWN))
    members = StringMatcher(MatchKind.PREFIX, f"spiffe://{trust_domain}/")
    _verify(common, [_subject(_SUBJECTS.URI, members)], _secret(ROOTS))
    return _socket(
        tls_pb2.DownstreamTlsContext(common_tls_context=common, require_client_certificate=boolean(True))
    )


def gateway(tls: ServerTls, *, http: bool) -> Proto | None:
    """A gateway's side of TLS; None when connections pass through as they are."""
    if tls.mode is ServerTlsMode.PASSTHROUGH:
        return None
    common = tls_pb2.CommonTlsContext(
        tls_params=_parameters(tls), alpn_protocols=_HTTP_PROTOCOLS if http else ()
    )
    mutual = tls.mode is not ServerTlsMode.SIMPLE
    subjects = [item for name in tls.names for item in _either(name)]
    if tls.mode is ServerTlsMode.ISTIO_MUTUAL:
        common.tls_certificate_sds_secret_configs.append(_secret(OWN))
        _verify(common, subjects, _secret(ROOTS))
    elif tls.credential:
        name = _named(tls.credential)
        common.tls_certificate_sds_secret_configs.append(_secret(name, wait=False))
        if mutual:
            _verify(common, subjects, _secret(name + AUTHORITY, wait=False))
    else:
        common.tls_certificates.append(_files(tls.certificate_file, tls.key_file))
        if mutual:
            common.validation_context.CopyFrom(
                tls_common_pb2.CertificateValidationContext(
                    trusted_ca=_file(tls.ca_file), match_typed_subject_alt_names=subjects
                )
            )
    required = mutual and tls.mode is not ServerTlsMode.OPTIONAL_MUTUAL
    return _socket(
        tls_pb2.DownstreamTlsContext(common_tls_context=common, require_client_certificate=boolean(required))
    )


def credentials(view: ProxyView) -> tuple[str, ...]:
    """Names of the secrets that a gateway asks for beside its own identity, in order: what SDS has to give
    it."""
    found: set[str] = set()
    for listener in view.listeners:
        for chain in listener.chains:
            tls = chain.gateway_tls
            if tls is not None and tls.credential and tls.mode in _WITH_CREDENTIAL:
                found.add(_named(tls.credential))
                if tls.mode is not ServerTlsMode.SIMPLE:
                    found.add(_named(tls.credential) + AUTHORITY)
    return tuple(sorted(found))


def _named(credential: str) -> str:
    return CREDENTIAL + credential.removeprefix(CREDENTIAL)


def _socket(context: Proto) -> Proto:
    return base_pb2.TransportSocket(name=TLS, typed_config=pack(context))


def _parameters(tls: ServerTls | None = None) -> Proto:
    """1.2 at least, as Istio has it since 1.14."""
    versions = tls_common_pb2.TlsParameters
    lowest = tls.minimum_version if tls is not None else ""
    highest = tls.maximum_version if tls is not None else ""
    return versions(
        tls_minimum_protocol_version=_version(lowest or "TLSV1_2"),
        tls_maximum_protocol_version=_version(highest or "TLSV1_3"),
        cipher_suites=tls.cipher_suites if tls is not None else (),
    )


def _version(name: str) -> int:
    """Istio writes TLSV1_2, Envoy TLSv1_2."""
    return int(tls_common_pb2.TlsParameters.TlsProtocol.Value(name.replace("TLSV", "TLSv")))


def _secret(name: str, *, wait: bool = True) -> Proto:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=over_ads(wait=wait))


def _verify(common: Proto, subjects: Iterable[Proto], roots: Proto) -> None:
    common.combined_validation_context.CopyFrom(
        tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=tls_common_pb2.CertificateValidationContext(
                match_typed_subject_alt_names=subjects
            ),
            validation_context_sds_secret_config=roots,
        )
    )


def _trust(tls: UpstreamTls, cluster: Cluster) -> Proto:
    return tls_common_pb2.CertificateValidationContext(
        trusted_ca=_file(tls.ca_file or SYSTEM_ROOTS),
        match_typed_subject_alt_names=_subjects(tls.identities, cluster.names),
    )


def _subjects(identities: Sequence[str], names: Sequence[StringMatcher]) -> list[Proto]:
    exact = [StringMatcher(MatchKind.EXACT, name) for name in identities]
    return [item for name in (*exact, *names) for item in _either(name)]


def _either(name: StringMatcher) -> Iterable[Proto]:
    """A URI where it can be seen that it is one, a DNS name where it cannot be a URI, else either."""
    if "://" in name.text:
        return [_subject(_SUBJECTS.URI, name)]
    if name.kind is MatchKind.EXACT:
        return [_subject(_SUBJECTS.DNS, name)]
    return [_subject(_SUBJECTS.URI, name), _subject(_SUBJECTS.DNS, name)]


def _subject(kind: int, name: StringMatcher) -> Proto:
    return _SUBJECTS(san_type=kind, matcher=string_match(name))


def _file(path: str) -> Proto:
    return base_pb2.DataSource(filename=path)


def _files(certificate: str, key: str) -> Proto:
    return tls_common_pb2.TlsCertificate(certificate_chain=_file(certificate), private_key=_file(key))

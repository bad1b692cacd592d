"""Gateway (https://istio.io/latest/docs/reference/config/networking/gateway/)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mesh.manifests.common import Port
from mesh.manifests.message import Message


class ServerTLSMode(enum.Enum):
    """How a port is secured."""

    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TLSProtocol(enum.Enum):
    """A version of TLS."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


_BY_NAME = "clients are known by the names in their certificates: write subjectAltNames"
_ONE_CREDENTIAL = "a port has one certificate: write credentialName"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLSSettings(Message):
    """The server's side of TLS."""

    rejected: ClassVar = {
        "caCrl": "revocation lists are not checked: certificates are short-lived instead",
        "caCertCredentialName": "issuers of clients come with credentialName or from caCertificates",
        "credentialNames": _ONE_CREDENTIAL,
        "tlsCertificates": _ONE_CREDENTIAL,
        "verifyCertificateSpki": _BY_NAME,
        "verifyCertificateHash": _BY_NAME,
    }
    refused_values: ClassVar = {
        "mode": {"AUTO_PASSTHROUGH": "it joins networks of several clusters, and here there is one"}
    }

    https_redirect: bool | None = None
    mode: ServerTLSMode | None = None
    server_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    credential_name: str | None = None
    subject_alt_names: tuple[str, ...] = ()
    min_protocol_version: TLSProtocol | None = None
    max_protocol_version: TLSProtocol | None = None
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Message):
    """One port and the hosts served on it."""

    rejected: ClassVar = {"defaultEndpoint": "Istio hides it and does not carry it out"}
    passed_over: ClassVar = {"name": "it only begins names of statistics, which are not changed"}

    port: Port | None = None
    bind: str | None = None
    hosts: tuple[str, ...] = ()
    """`[namespace/]name`, where the namespace may be `.` or `*`."""
    tls: ServerTLSSettings | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway(Message):
    """What proxies without an application listen on."""

    servers: tuple[Server, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)

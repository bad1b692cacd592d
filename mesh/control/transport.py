"""The control plane's own side of TLS: its identity, renewed while it serves."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

import grpc

from mesh.pki.regional import RegionalAuthority
from mesh.pki.svid import ISTIOD, Credential, Identity

DNS_NAMES = ("istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local")
"""What clients may call it, as under Istio."""


class OwnIdentity:
    """Issued by the region's authority, in memory only. gRPC asks for the newest at each handshake, from a
    thread of its own: what it reads is replaced in one step."""

    def __init__(self, authority: RegionalAuthority, host: str, life: timedelta) -> None:
        self._identity = Identity(ISTIOD.namespace, ISTIOD.service_account, authority.trust_domain)
        self._addresses = _addresses(host)
        self._life = life
        self._authority = authority
        self.credential = self._issue()
        self._configuration = self._make()
        self._taken = self._configuration

    def renew(self, authority: RegionalAuthority, now: datetime) -> None:
        """Take over another authority or bundle, and issue anew when it is time.

        Raises:
            PkiError: the authority cannot issue; the present certificate stays.
        """
        reissue = authority.pair.certificate != self._authority.pair.certificate
        if reissue or self.credential.due(now) or authority.bundle != self._authority.bundle:
            self._authority = authority
            if reissue or self.credential.due(now):
                self.credential = self._issue()
            self._configuration = self._make()

    def credentials(self) -> grpc.ServerCredentials:
        """For the server's port: clients must have a certificate that the mesh's roots vouch for."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            # None says that nothing changed; the types do not know.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", self._newest),
            require_client_authentication=True,
        )

    def _newest(self) -> grpc.ServerCertificateConfiguration | None:
        newest = self._configuration
        if newest is self._taken:
            return None
        self._taken = newest
        return newest

    def _issue(self) -> Credential:
        return self._authority.issue(
            self._identity, life=self._life, dns=DNS_NAMES, addresses=self._addresses
        )

    def _make(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(self.credential.key.reveal().encode(), self.credential.chain)],
            root_certificates=self._authority.bundle,
        )


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        return []

"""Certificates that people's clients see at a gateway: DNS names, and a root that is not the mesh's.

In a cluster they come from a public authority and lie in a Kubernetes Secret; here an authority of our own
signs them, and clients are given `web.pem` to trust. A certificate from elsewhere may be put in its place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from mesh.pki import certificates, files
from mesh.pki.certificates import IpAddress, Pair
from mesh.pki.errors import MissingError, PkiError
from mesh.pki.root import ROOT_LIFE, Clock, utc_now
from mesh.pki.svid import Credential, credential

GATEWAY_LIFE = timedelta(days=30)
_CREDENTIAL = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class GatewayCertificates:
    """The certificates of one region's gateways."""

    folder: Path
    """The authority's."""
    region: str
    clock: Clock = utc_now

    @property
    def trust(self) -> Path:
        """The root that clients have to trust, PEM."""
        return self.folder / "web.pem"

    def path(self, name: str) -> Path:
        """The file of a credential: key and chain. Raises ValueError when it can be no credential's name."""
        if not _CREDENTIAL.fullmatch(name) or ".." in name:
            raise ValueError(f"{name!r} cannot be the name of a Kubernetes Secret")
        return self.folder / "regions" / self.region / "gateways" / f"{name}.pem"

    def ensure(
        self,
        name: str,
        names: Sequence[str],
        *,
        life: timedelta = GATEWAY_LIFE,
        root_life: timedelta = ROOT_LIFE,
    ) -> bool:
        """Issue a certificate for DNS names or IP addresses, unless a good one is there; whether one was
        issued.

        A certificate that our authority did not sign is left alone, whatever its state: somebody put it
        there.

        Raises:
            PkiError: the authority's or the credential's file cannot be used.
        """
        path = self.path(name)
        authority = self._authority(root_life)
        dns, addresses = _split(names)
        if path.exists():
            pair, _ = certificates.read_pair(files.read(path, private=True), path)
            ours = certificates.is_issued_by(pair.certificate, authority.certificate)
            current = credential(pair, [], ())
            if not ours or (not current.due(self.clock()) and _names(pair.certificate) == {*names}):
                return False
        leaf = certificates.make_leaf(
            authority, self.clock(), life, dns=dns, addresses=addresses, client=False
        )
        files.write(path, certificates.key_pem(leaf.key) + certificates.pem(leaf.certificate))
        return True

    def renew(self, name: str) -> bool:
        """Renew a credential that our authority signed and that is due; whether it was renewed.

        Raises:
            PkiError: a file cannot be used.
        """
        path = self.path(name)
        pair, _ = certificates.read_pair(files.read(path, private=True), path)
        if not credential(pair, [], ()).due(self.clock()) or not (self.folder / "web-authority.pem").exists():
            return False
        return self.ensure(name, sorted(_names(pair.certificate)))

    def read(self, name: str) -> Credential:
        """A credential, to be sent to a gateway.

        Raises:
            PkiError: there is none, or it is damaged, expired or exposed.
        """
        path = self.path(name)
        pair, issuers = certificates.read_pair(files.read(path, private=True), path)
        certificates.check_time(pair.certificate, self.clock(), path)
        return credential(pair, issuers, tuple(sorted(_names(pair.certificate))))

    def read_trust(self, name: str) -> bytes:
        """The authorities whose client certificates a gateway accepts for a credential, PEM.

        Raises:
            PkiError: there are none, or they cannot be read.
        """
        path = self.path(f"{name}-cacert")
        return certificates.pem(*certificates.read_certificates(files.read(path, private=False), path))

    def _authority(self, life: timedelta) -> Pair:
        path = self.folder / "web-authority.pem"
        try:
            pair, _ = certificates.read_pair(files.read(path, private=True), path)
        except MissingError:
            if self.trust.exists():
                raise PkiError(
                    f"{path} is gone but {self.trust} is there: restore it, or remove both"
                ) from None
            pair = certificates.make_root("Causeway web root", self.clock(), life)
            files.write(path, certificates.key_pem(pair.key) + certificates.pem(pair.certificate))
        certificates.check_time(pair.certificate, self.clock(), path)
        if not self.trust.exists():
            files.write(self.trust, certificates.pem(pair.certificate))
        return pair


def _split(names: Sequence[str]) -> tuple[list[str], list[IpAddress]]:
    dns: list[str] = []
    addresses: list[IpAddress] = []
    for name in names:
        try:
            addresses.append(ipaddress.ip_address(name))
        except ValueError:
            dns.append(name)
    return dns, addresses


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    dns = extension.value.get_values_for_type(x509.DNSName)
    return {*dns, *(str(address) for address in extension.value.get_values_for_type(x509.IPAddress))}

"""Identities in files, for those who need one before they can ask for one: a proxy or a gRPC client that
connects to its control plane for the first time, and a person's command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mesh.pki import certificates, files
from mesh.pki.certificates import IpAddress
from mesh.pki.errors import MissingError, PkiError
from mesh.pki.regional import RegionalAuthority
from mesh.pki.svid import Credential, Identity, credential

BOOTSTRAP_LIFE = timedelta(hours=24)
"""Longer than a leaf's that is sent over xDS, so that a platform whose supervisor was away for a while comes
up."""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where an identity lies. All PEM, all 0600."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Leaf and intermediate."""
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        """The leaf's."""
        return self.folder / "key.pem"

    @property
    def trust(self) -> Path:
        """The roots."""
        return self.folder / "ca.pem"


def ensure(
    authority: RegionalAuthority,
    identity: Identity,
    folder: Path,
    *,
    life: timedelta = BOOTSTRAP_LIFE,
    dns: Sequence[str] = (),
    addresses: Sequence[IpAddress] = (),
) -> datetime:
    """Put a good identity into `folder`, unless one is there; when to call again.

    One that is due, damaged, another's, or signed by an authority that is no longer the region's is replaced:
    it can be made again at any time, so nothing is lost.
    """
    paths = IdentityFiles(folder)
    present = _present(authority, identity, paths)
    if present is None or present.due(authority.clock()):
        present = authority.issue(identity, life=life, dns=dns, addresses=addresses)
        # The key first: readers take the certificate's change as the sign that both are new.
        files.write(paths.key, present.key.reveal().encode())
        files.write(paths.certificate, present.chain)
    if not _holds(paths.trust, authority.bundle):
        files.write(paths.trust, authority.bundle)
    return present.renew_at


def _present(authority: RegionalAuthority, identity: Identity, paths: IdentityFiles) -> Credential | None:
    try:
        data = files.read(paths.key, private=True) + files.read(paths.certificate, private=False)
        pair, _ = certificates.read_pair(data, paths.certificate)
        certificates.check_issued_by(pair.certificate, [authority.pair.certificate], paths.certificate)
        certificates.check_time(pair.certificate, authority.clock(), paths.certificate)
    except PkiError:
        return None
    if certificates.uris(pair.certificate) != [identity.uri]:
        return None
    return credential(pair, [authority.pair.certificate], (identity.uri,))


def _holds(path: Path, content: bytes) -> bool:
    try:
        return files.read(path, private=False) == content
    except MissingError:
        return False

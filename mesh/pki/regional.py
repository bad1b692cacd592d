"""A region's authority: signs the leaves of its workloads. Works without the root's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mesh.pki import certificates, files
from mesh.pki.certificates import Certificate, IpAddress, Pair
from mesh.pki.errors import ExpiredError, ForeignError
from mesh.pki.root import Clock, utc_now
from mesh.pki.svid import LEAF_LIFE, Credential, Identity, credential


@dataclass(frozen=True, slots=True)
class RegionalAuthority:
    """What a control plane signs with. Opened once; `open` it again when its files change."""

    pair: Pair
    """The intermediate."""
    trusted: tuple[Certificate, ...]
    """The roots."""
    trust_domain: str
    clock: Clock

    @classmethod
    def open(
        cls, folder: Path, region: str, trust_domain: str = "cluster.local", clock: Clock = utc_now
    ) -> RegionalAuthority:
        """Read and check `trust.pem` and the region's files.

        Raises:
            PkiError: something is missing, damaged, expired, exposed, or not of this mesh.
        """
        path, trust = cls.files(folder, region)
        trusted = certificates.read_certificates(files.read(trust, private=False), trust)
        now = clock()
        for root in trusted:
            certificates.check_trust_domain(root, trust_domain, trust)
        valid = [root for root in trusted if root.not_valid_before_utc <= now < root.not_valid_after_utc]
        if not valid:
            raise ExpiredError(f"{trust}: no root in it is valid now")
        pair, _ = certificates.read_pair(files.read(path, private=True), path)
        certificates.check_trust_domain(pair.certificate, trust_domain, path)
        certificates.check_issued_by(pair.certificate, valid, path)
        certificates.check_time(pair.certificate, now, path)
        return cls(pair, tuple(valid), trust_domain, clock)

    @staticmethod
    def files(folder: Path, region: str) -> tuple[Path, Path]:
        """The intermediate's file and the trust bundle: what to watch."""
        return folder / "regions" / region / "authority.pem", folder / "trust.pem"

    @property
    def bundle(self) -> bytes:
        """The roots, PEM."""
        return certificates.pem(*self.trusted)

    def issue(
        self,
        identity: Identity,
        *,
        life: timedelta = LEAF_LIFE,
        dns: Sequence[str] = (),
        addresses: Sequence[IpAddress] = (),
    ) -> Credential:
        """A new key and certificate. It ends with the authority at the latest.

        Raises:
            ExpiredError: the authority's own time is over.
            ForeignError: the identity is of another trust domain.
        """
        if identity.trust_domain != self.trust_domain:
            raise ForeignError(f"{identity.uri} is not of spiffe://{self.trust_domain}")
        now = self.clock()
        certificates.check_time(self.pair.certificate, now, Path("the region's authority"))
        leaf = certificates.make_leaf(self.pair, now, life, uri=identity.uri, dns=dns, addresses=addresses)
        return credential(leaf, [self.pair.certificate], (identity.uri,))

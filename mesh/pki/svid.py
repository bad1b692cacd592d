"""A workload's identity: a certificate with a SPIFFE ID, and its key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mesh.pki.certificates import BACKDATE, Certificate, Pair, key_pem, pem
from services.common.secret import Secret


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a workload is, in Istio's terms."""

    namespace: str
    service_account: str
    trust_domain: str = "cluster.local"

    @property
    def uri(self) -> str:
        """https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md"""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


ISTIOD = Identity("istio-system", "istiod")
"""The control plane."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate with all it takes to use it."""

    chain: bytes
    """PEM: the leaf, then what signed it, without the root."""
    key: Secret
    """PEM."""
    serial: str
    """Hexadecimal."""
    issued: datetime
    expires: datetime
    names: tuple[str, ...]
    """Its SPIFFE ID, or its DNS names."""

    @property
    def renew_at(self) -> datetime:
        """Two thirds of its life: a renewal that fails can be tried many times before it ends."""
        return self.issued + (self.expires - self.issued) * 2 / 3

    def due(self, now: datetime) -> bool:
        """Whether it is time for another."""
        return now >= self.renew_at


def credential(leaf: Pair, issuers: list[Certificate], names: tuple[str, ...]) -> Credential:
    """What is handed out of a leaf."""
    certificate = leaf.certificate
    return Credential(
        chain=pem(certificate, *issuers),
        key=Secret(key_pem(leaf.key).decode()),
        serial=f"{certificate.serial_number:x}",
        issued=certificate.not_valid_before_utc + BACKDATE,
        expires=certificate.not_valid_after_utc,
        names=names,
    )


LEAF_LIFE = timedelta(hours=1)
"""How long a workload's certificate lives, unless something else is asked for."""

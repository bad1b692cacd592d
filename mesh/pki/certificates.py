"""Making and checking X.509 certificates, without files and clocks.

Forms: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md. ECDSA P-256 everywhere.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.pki.errors import DamagedError, ExpiredError, ForeignError

BACKDATE = timedelta(minutes=5)
"""How far a certificate's time begins before it was made: clocks of machines differ."""

Certificate = x509.Certificate
Key = ec.EllipticCurvePrivateKey
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: Certificate
    key: Key

    def __repr__(self) -> str:
        return f"Pair({self.certificate.subject.rfc4514_string()}, serial {self.certificate.serial_number:x})"


def new_key() -> Key:
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(name: str, now: datetime, life: timedelta, uri: str = "") -> Pair:
    """A self-signed authority; `uri` is its SPIFFE trust domain."""
    key = new_key()
    subject = _unique(name)
    builder = _builder(subject, subject, key, now, life)
    builder = _authority(builder, key, path_length=None, uri=uri)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_intermediate(issuer: Pair, name: str, now: datetime, life: timedelta, uri: str = "") -> Pair:
    """An authority that signs leaves only."""
    key = new_key()
    subject = _unique(name)
    builder = _builder(subject, issuer.certificate.subject, key, now, _within(issuer, now, life))
    builder = _authority(builder, key, path_length=0, uri=uri)
    builder = builder.add_extension(_issuer_id(issuer), critical=False)
    return Pair(builder.sign(issuer.key, hashes.SHA256()), key)


def make_leaf(
    issuer: Pair,
    now: datetime,
    life: timedelta,
    *,
    uri: str = "",
    dns: Sequence[str] = (),
    addresses: Sequence[IpAddress] = (),
    client: bool = True,
) -> Pair:
    """A leaf. It ends with its issuer at the latest; `client`: also for the client's side of TLS."""
    key = new_key()
    # X509-SVID: with an empty subject the alternative name is critical.
    builder = _builder(x509.Name([]), issuer.certificate.subject, key, now, _within(issuer, now, life))
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
    names += [x509.DNSName(name) for name in dns]
    names += [x509.IPAddress(address) for address in addresses]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else ())]
    builder = (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_issuer_id(issuer), critical=False)
    )
    return Pair(builder.sign(issuer.key, hashes.SHA256()), key)


def _unique(name: str) -> x509.Name:
    """Two authorities never have the same name: verifiers look for an issuer by it."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {secrets.token_hex(6)}")])


def _within(issuer: Pair, now: datetime, life: timedelta) -> timedelta:
    return min(life, issuer.certificate.not_valid_after_utc - now)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
    )


def _authority(
    builder: x509.CertificateBuilder, key: Key, *, path_length: int | None, uri: str
) -> x509.CertificateBuilder:
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if uri:
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(name, critical=False)
    return builder


def _issuer_id(issuer: Pair) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


# Text forms.


def pem(*certificates: Certificate) -> bytes:
    """Certificates one after the other."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def key_pem(key: Key) -> bytes:
    """A private key, unencrypted PKCS#8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_certificates(data: bytes, where: Path) -> list[Certificate]:
    """All certificates of a PEM text. Raises DamagedError when there is none or one is not whole."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise DamagedError(f"{where} is damaged: it holds no readable certificate") from error


def read_pair(data: bytes, where: Path) -> tuple[Pair, list[Certificate]]:
    """A key and its certificate, and the certificates after it.

    Raises:
        DamagedError: something is missing or unreadable, or the key is not the certificate's.
    """
    certificates = read_certificates(data, where)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{where} is damaged: it holds no readable private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DamagedError(f"{where} is damaged: its key is not ECDSA")
    if key.public_key() != certificates[0].public_key():
        raise DamagedError(f"{where} is damaged: key and certificate do not belong together")
    return Pair(certificates[0], key), certificates[1:]


# Checks.


def check_time(certificate: Certificate, now: datetime, where: Path) -> None:
    """Raises ExpiredError when `now` is outside the certificate's time."""
    if now >= certificate.not_valid_after_utc:
        raise ExpiredError(
            f"{where}: the certificate ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
    if now < certificate.not_valid_before_utc:
        begins = certificate.not_valid_before_utc
        raise ExpiredError(
            f"{where}: the certificate begins at {begins:%Y-%m-%d %H:%M} UTC; is the clock right?"
        )


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether `issuer` signed the certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_issued_by(certificate: Certificate, issuers: Sequence[Certificate], where: Path) -> None:
    """Raises ForeignError when none of `issuers` signed the certificate."""
    if not any(is_issued_by(certificate, issuer) for issuer in issuers):
        raise ForeignError(f"{where} was not signed by an authority that is trusted here")


def uris(certificate: Certificate) -> list[str]:
    """The URIs of a certificate's alternative name."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.UniformResourceIdentifier)


def check_trust_domain(certificate: Certificate, trust_domain: str, where: Path) -> None:
    """Raises ForeignError when the authority is another trust domain's."""
    if uris(certificate) != [f"spiffe://{trust_domain}"]:
        named = ", ".join(uris(certificate)) or "no trust domain"
        raise ForeignError(f"{where} is of {named}, not of spiffe://{trust_domain}")

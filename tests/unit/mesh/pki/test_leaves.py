"""What a workload, a bootstrap and a gateway are given."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fakes.clock import FakeClock
from mesh.pki import bootstrap
from mesh.pki.certificates import read_certificates
from mesh.pki.errors import ExpiredError, ExposedError, ForeignError, MissingError, PkiError
from mesh.pki.gateways import GATEWAY_LIFE, GatewayCertificates
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import INTERMEDIATE_LIFE, RootAuthority
from mesh.pki.svid import Identity

SESSION = Identity("causeway", "session")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path, clock: FakeClock) -> Path:
    root = RootAuthority(tmp_path / "pki", "cluster.local", clock)
    root.open_or_create()
    root.ensure_region("us-west-2")
    return tmp_path / "pki"


@pytest.fixture
def authority(folder: Path, clock: FakeClock) -> RegionalAuthority:
    return RegionalAuthority.open(folder, "us-west-2", clock=clock)


def test_a_leaf_is_an_x509_svid(authority: RegionalAuthority) -> None:
    leaf, intermediate = read_certificates(authority.issue(SESSION).chain, Path("test"))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/causeway/sa/session")
    ]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_every_leaf_has_a_key_of_its_own_that_does_not_print_itself(authority: RegionalAuthority) -> None:
    one, other = authority.issue(SESSION), authority.issue(SESSION)
    assert one.key != other.key
    assert one.serial != other.serial
    assert "PRIVATE" not in repr(one)


def test_a_leaf_lives_an_hour_and_is_due_at_two_thirds_of_it(
    authority: RegionalAuthority, clock: FakeClock
) -> None:
    leaf = authority.issue(SESSION)
    assert leaf.expires - leaf.issued == timedelta(hours=1)
    clock.turn(timedelta(minutes=39, seconds=59))
    assert not leaf.due(clock())
    clock.turn(timedelta(seconds=1))
    assert leaf.due(clock())


def test_no_leaf_outlives_its_authority(authority: RegionalAuthority, clock: FakeClock) -> None:
    clock.turn(INTERMEDIATE_LIFE - timedelta(minutes=10))
    assert authority.issue(SESSION).expires == authority.pair.certificate.not_valid_after_utc


def test_identities_of_another_trust_domain_are_not_issued(authority: RegionalAuthority) -> None:
    with pytest.raises(ForeignError):
        authority.issue(Identity("causeway", "session", "elsewhere"))


def test_a_bootstrap_identity_is_written_once_and_renewed_when_due(
    authority: RegionalAuthority, tmp_path: Path, clock: FakeClock
) -> None:
    folder = tmp_path / "proxy"
    files = bootstrap.IdentityFiles(folder)
    due = bootstrap.ensure(authority, SESSION, folder)
    first = files.certificate.read_bytes()
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert files.trust.read_bytes() == authority.bundle
    clock.now = due - timedelta(seconds=1)
    assert bootstrap.ensure(authority, SESSION, folder) == due
    assert files.certificate.read_bytes() == first
    clock.now = due
    assert bootstrap.ensure(authority, SESSION, folder) > due
    assert files.certificate.read_bytes() != first


@pytest.mark.parametrize("what", ["certificate", "key"])
def test_a_bootstrap_identity_that_is_damaged_is_made_again(
    authority: RegionalAuthority, tmp_path: Path, what: str
) -> None:
    files = bootstrap.IdentityFiles(tmp_path)
    bootstrap.ensure(authority, SESSION, tmp_path)
    path: Path = getattr(files, what)
    path.write_bytes(path.read_bytes()[:100])
    bootstrap.ensure(authority, SESSION, tmp_path)
    again = files.certificate.read_bytes()
    bootstrap.ensure(authority, SESSION, tmp_path)
    assert files.certificate.read_bytes() == again


def test_a_bootstrap_identity_of_somebody_else_or_of_an_old_authority_is_replaced(
    authority: RegionalAuthority, folder: Path, tmp_path: Path, clock: FakeClock
) -> None:
    files = bootstrap.IdentityFiles(tmp_path / "proxy")
    bootstrap.ensure(authority, Identity("causeway", "policy"), files.folder)
    others = files.certificate.read_bytes()
    bootstrap.ensure(authority, SESSION, files.folder)
    own = files.certificate.read_bytes()
    assert own != others
    root = RootAuthority(folder, "cluster.local", clock)
    root.introduce()
    root.switch()
    switched = RegionalAuthority.open(folder, "us-west-2", clock=clock)
    bootstrap.ensure(switched, SESSION, files.folder)
    assert files.certificate.read_bytes() != own
    assert files.trust.read_bytes() == switched.bundle


def test_a_gateways_certificate_is_no_identity_of_the_mesh(folder: Path, clock: FakeClock) -> None:
    gateways = GatewayCertificates(folder, "us-west-2", clock)
    assert gateways.ensure("api", ["api.causeway.local", "127.0.0.1"])
    credential = gateways.read("api")
    assert credential.names == ("127.0.0.1", "api.causeway.local")
    (leaf,) = read_certificates(credential.chain, Path("test"))
    assert leaf.issuer == read_certificates(gateways.trust.read_bytes(), Path("test"))[0].subject
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == []


def test_a_gateways_certificate_is_renewed_when_due_or_when_its_names_change(
    folder: Path, clock: FakeClock
) -> None:
    gateways = GatewayCertificates(folder, "us-west-2", clock)
    gateways.ensure("api", ["a"])
    assert not gateways.ensure("api", ["a"])
    assert not gateways.renew("api")
    assert gateways.ensure("api", ["a", "b"])
    clock.turn(GATEWAY_LIFE * 2 / 3)
    assert gateways.renew("api")
    assert gateways.read("api").names == ("a", "b")


def test_a_certificate_that_somebody_else_put_there_is_left_alone(
    folder: Path, tmp_path: Path, clock: FakeClock
) -> None:
    other = GatewayCertificates(tmp_path / "public", "us-west-2", clock)
    other.ensure("api", ["a"])
    gateways = GatewayCertificates(folder, "us-west-2", clock)
    gateways.ensure("else", ["x"])
    path = gateways.path("api")
    path.write_bytes(other.path("api").read_bytes())
    path.chmod(0o600)
    clock.turn(GATEWAY_LIFE)
    assert not gateways.ensure("api", ["b"])
    assert not gateways.renew("api")
    with pytest.raises(ExpiredError):
        gateways.read("api")


def test_gateway_files_that_cannot_be_used_are_refused(folder: Path, clock: FakeClock) -> None:
    gateways = GatewayCertificates(folder, "us-west-2", clock)
    with pytest.raises(MissingError, match="nothing"):
        gateways.read("nothing")
    for name in ("../../root", "a/b", "", "A"):
        with pytest.raises(ValueError, match="Secret"):
            gateways.read(name)
    gateways.ensure("api", ["a"])
    gateways.path("api").chmod(0o644)
    with pytest.raises(ExposedError):
        gateways.read("api")
    (folder / "web-authority.pem").unlink()
    with pytest.raises(PkiError, match="is gone"):
        gateways.ensure("other", ["a"])

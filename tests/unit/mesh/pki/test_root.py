"""The root: made once, never replaced by accident, replaced on purpose in three steps."""

from __future__ import annotations

import json
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from fakes.clock import FakeClock
from mesh.pki.certificates import check_issued_by, read_certificates
from mesh.pki.errors import (
    DamagedError,
    ExpiredError,
    ExposedError,
    ForeignError,
    MissingError,
    PkiError,
    StageError,
)
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import INTERMEDIATE_LIFE, ROOT_LIFE, RootAuthority
from mesh.pki.svid import Credential, Identity

SESSION = Identity("causeway", "session")
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def root(tmp_path: Path, clock: FakeClock) -> RootAuthority:
    root = RootAuthority(tmp_path / "pki", "cluster.local", clock)
    root.open_or_create()
    for region in ("us-west-2", "us-east-1"):
        assert root.ensure_region(region)
    return root


@pytest.fixture
def folder(tmp_path: Path, root: RootAuthority) -> Path:
    return tmp_path / "pki"


def opened(folder: Path, clock: FakeClock, region: str = "us-west-2") -> RegionalAuthority:
    return RegionalAuthority.open(folder, region, clock=clock)


def trusts(bundle: bytes, credential: Credential) -> bool:
    """Whether a chain leads to a root of the bundle."""
    where = Path("test")
    leaf, *issuers = read_certificates(credential.chain, where)
    try:
        check_issued_by(leaf, issuers, where)
        check_issued_by(issuers[-1], read_certificates(bundle, where), where)
    except ForeignError:
        return False
    return True


def test_it_is_made_once_and_found_again(folder: Path, clock: FakeClock) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = RootAuthority(folder, "cluster.local", clock)
    again.open_or_create()
    assert not again.ensure_region("us-west-2")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_private_files_are_the_owners_alone_and_a_regions_key_is_nowhere_else(folder: Path) -> None:
    keys = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            assert path.stat().st_mode & 0o077 == 0, path
            keys[path.relative_to(folder)] = path.read_bytes().count(b"PRIVATE KEY-----") // 2
    assert {str(path) for path, count in keys.items() if count} == {
        "root.json",
        "regions/us-west-2/authority.pem",
        "regions/us-east-1/authority.pem",
    }


def test_leaves_of_every_region_lead_to_the_one_root(folder: Path, clock: FakeClock) -> None:
    west, east = opened(folder, clock), opened(folder, clock, "us-east-1")
    assert west.bundle == east.bundle
    for authority in (west, east):
        assert trusts(west.bundle, authority.issue(SESSION))
    context = ssl.create_default_context(cadata=west.bundle.decode())
    assert context.cert_store_stats()["x509_ca"] == 1


def test_an_intermediate_is_replaced_at_two_thirds_of_its_life(root: RootAuthority, clock: FakeClock) -> None:
    clock.turn(INTERMEDIATE_LIFE * 2 / 3 - timedelta(minutes=10))
    assert not root.ensure_region("us-west-2")
    clock.turn(timedelta(minutes=10))
    assert root.ensure_region("us-west-2")


@pytest.mark.parametrize("name", ["", "../x", "US", "a/b", "-a", "a" * 64])
def test_a_region_is_not_a_path(root: RootAuthority, name: str) -> None:
    with pytest.raises(ValueError, match="region"):
        root.ensure_region(name)


def test_the_root_is_replaced_without_a_moment_in_which_somebody_is_not_trusted(
    root: RootAuthority, folder: Path, clock: FakeClock
) -> None:
    leaves = [opened(folder, clock).issue(SESSION)]
    bundles = [opened(folder, clock).bundle]

    def check() -> None:
        """All leaves in use are trusted by everybody who is at most one step behind."""
        for bundle in bundles[-2:]:
            assert all(trusts(bundle, leaf) for leaf in leaves)

    assert root.introduce().introduced is not None
    bundles.append(opened(folder, clock).bundle)
    assert len(read_certificates(bundles[-1], folder)) == 2
    check()

    state = root.switch()
    assert state.retiring is not None
    bundles.append(opened(folder, clock).bundle)
    leaves += [opened(folder, clock, region).issue(SESSION) for region in ("us-west-2", "us-east-1")]
    check()
    assert "PRIVATE" not in json.loads((folder / "root.json").read_text())["roots"]["retiring"]["pem"]

    with pytest.raises(StageError, match="in use until"):
        root.retire(HOUR)
    clock.turn(HOUR)
    assert len(root.retire(HOUR).trusted) == 1
    old = leaves.pop(0)
    bundles.append(opened(folder, clock).bundle)
    check()
    assert not trusts(bundles[-1], old), "the old root is trusted no more"


def test_steps_are_taken_in_order(root: RootAuthority) -> None:
    with pytest.raises(StageError):
        root.switch()
    with pytest.raises(StageError):
        root.retire(HOUR)
    root.introduce()
    with pytest.raises(StageError):
        root.introduce()
    with pytest.raises(StageError):
        root.retire(HOUR)


def test_a_switch_that_was_cut_short_is_finished_by_another(
    root: RootAuthority, folder: Path, clock: FakeClock
) -> None:
    path = folder / "regions" / "us-east-1" / "authority.pem"
    old = path.read_bytes()
    root.introduce()
    new = root.switch().signing
    path.write_bytes(old)
    root.switch()
    assert opened(folder, clock, "us-east-1").pair.certificate.issuer == new.subject


def test_files_that_are_not_whole_are_refused_and_left_as_they_are(
    root: RootAuthority, folder: Path, clock: FakeClock
) -> None:
    for name in ("root.json", "regions/us-west-2/authority.pem", "trust.pem"):
        path = folder / name
        good = path.read_bytes()
        for bad in (b"", good[: len(good) // 2], b"\x00\xff" * 100, good.replace(b"M", b"N")):
            path.write_bytes(bad)
            with pytest.raises(PkiError, match=path.name):
                if name == "root.json":
                    root.open_or_create()
                else:
                    opened(folder, clock)
            assert path.read_bytes() == bad
        path.write_bytes(good)
    opened(folder, clock)


def test_a_key_of_another_certificate_is_refused(folder: Path, clock: FakeClock) -> None:
    west, east = (folder / "regions" / r / "authority.pem" for r in ("us-west-2", "us-east-1"))
    key = west.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[0]
    other = east.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[1]
    west.write_bytes(key + b"-----BEGIN CERTIFICATE-----" + other)
    with pytest.raises(DamagedError, match="belong together"):
        opened(folder, clock)


def test_another_meshs_files_are_refused(folder: Path, tmp_path: Path, clock: FakeClock) -> None:
    other = RootAuthority(tmp_path / "other", "cluster.local", clock)
    other.open_or_create()
    other.ensure_region("us-west-2")
    foreign = tmp_path / "other" / "regions" / "us-west-2" / "authority.pem"
    (folder / "regions" / "us-west-2" / "authority.pem").write_bytes(foreign.read_bytes())
    with pytest.raises(ForeignError):
        opened(folder, clock)
    with pytest.raises(ForeignError):
        RootAuthority(folder, "cluster.local", clock).ensure_region("us-west-2")
    with pytest.raises(ForeignError):
        RegionalAuthority.open(folder, "us-east-1", "other.domain", clock)
    with pytest.raises(ForeignError):
        RootAuthority(folder, "other.domain", clock).open_or_create()


def test_a_lost_root_is_not_replaced_by_a_new_one(folder: Path, clock: FakeClock) -> None:
    (folder / "root.json").unlink()
    with pytest.raises(PkiError, match="is gone"):
        RootAuthority(folder, "cluster.local", clock).open_or_create()


def test_a_key_that_others_may_read_is_refused(folder: Path, clock: FakeClock) -> None:
    (folder / "regions" / "us-west-2" / "authority.pem").chmod(0o640)
    with pytest.raises(ExposedError, match="640"):
        opened(folder, clock)


def test_an_expired_authority_is_refused(folder: Path, clock: FakeClock) -> None:
    authority = opened(folder, clock)
    clock.turn(INTERMEDIATE_LIFE)
    with pytest.raises(ExpiredError):
        opened(folder, clock)
    with pytest.raises(ExpiredError):
        authority.issue(SESSION)
    clock.turn(ROOT_LIFE)
    with pytest.raises(ExpiredError, match="no root"):
        opened(folder, clock)


def test_a_clock_that_goes_wrong_is_told_apart_from_an_old_certificate(
    folder: Path, clock: FakeClock
) -> None:
    clock.turn(-timedelta(days=1))
    with pytest.raises(PkiError, match=r"clock|no root"):
        opened(folder, clock)


def test_a_region_that_was_never_set_up_is_named(folder: Path, clock: FakeClock) -> None:
    with pytest.raises(MissingError, match="eu-central-1"):
        opened(folder, clock, "eu-central-1")

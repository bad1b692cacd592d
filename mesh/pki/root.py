"""The root of trust, and how it is replaced without a moment in which somebody is not trusted.

Replacing takes three steps, each of which has to have reached everybody before the next:

1. `introduce`: a second root is made and trusted beside the first. Nothing is signed by it yet.
2. `switch`: the regions' intermediates are signed anew, by the second; the first one's key is destroyed. Both
   are still trusted, since leaves of the first are still in use.
3. `retire`: the first is trusted no more. Not before the last leaf that it vouches for has ended.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mesh.pki import certificates, files
from mesh.pki.certificates import Certificate, Key, Pair
from mesh.pki.errors import DamagedError, PkiError, StageError

Clock = Callable[[], datetime]

ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = timedelta(days=365)
_VERSION = 1
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Root:
    certificate: Certificate
    key: Key | None
    """None once it has retired from signing."""
    since: datetime
    """When it took on its present part."""


@dataclass(frozen=True, slots=True)
class RootState:
    """Which roots there are."""

    signing: Certificate
    introduced: Certificate | None
    """Trusted, not yet signing."""
    retiring: Certificate | None
    """Trusted, signing no more."""
    changed: datetime
    """When the last step was taken."""

    @property
    def trusted(self) -> tuple[Certificate, ...]:
        """All of them."""
        return tuple(c for c in (self.retiring, self.signing, self.introduced) if c is not None)


class RootAuthority:
    """The root with its keys. Only whoever sets up regions needs it, never a control plane."""

    def __init__(self, folder: Path, trust_domain: str, clock: Clock = utc_now) -> None:
        self._folder = folder
        self.trust_domain = trust_domain
        self._clock = clock

    @property
    def _file(self) -> Path:
        return self._folder / "root.json"

    def open_or_create(self) -> RootState:
        """The roots; made when there are none.

        Raises:
            PkiError: what is there cannot be used. It is never replaced: that would cut off all that trust
            it.
        """
        with self._locked():
            if self._file.exists():
                roots = self._load()
            else:
                stray = [p for p in (self._folder / "trust.pem", self._folder / "regions") if p.exists()]
                if stray:
                    raise PkiError(
                        f"{self._file} is gone but {stray[0]} is there: restore it, or remove both"
                    )
                pair = self._make()
                roots = {"signing": _Root(pair.certificate, pair.key, self._clock())}
                self._save(roots)
            # Written again, since a crash may have come between the two files.
            self._publish(roots)
            return _state(roots)

    def state(self) -> RootState:
        """Which roots there are. Raises PkiError when that cannot be told."""
        return _state(self._load())

    def ensure_region(self, region: str, life: timedelta = INTERMEDIATE_LIFE) -> bool:
        """Give a region an intermediate that the signing root vouches for; whether a new one was made.

        A new one is made when there is none, at two thirds of its life, and after `switch`.

        Raises:
            PkiError: the region's file is damaged or somebody else's. It is not replaced.
            ValueError: the region's name cannot be a folder's.
        """
        if not _REGION.fullmatch(region):
            raise ValueError(f"region {region!r} is not made of lower-case letters, digits and hyphens")
        with self._locked():
            roots = self._load()
            path = self._folder / "regions" / region / "authority.pem"
            if path.exists() and not self._due(path, roots):
                return False
            self._sign(path, region, roots["signing"], life)
            return True

    def _due(self, path: Path, roots: dict[str, _Root]) -> bool:
        pair, _ = certificates.read_pair(files.read(path, private=True), path)
        certificate = pair.certificate
        trusted = [root.certificate for root in roots.values()]
        certificates.check_trust_domain(certificate, self.trust_domain, path)
        certificates.check_issued_by(certificate, trusted, path)
        if not certificates.is_issued_by(certificate, roots["signing"].certificate):
            return True
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return self._clock() >= begin + (end - begin) * 2 / 3

    def _sign(self, path: Path, region: str, root: _Root, life: timedelta) -> None:
        if root.key is None:
            raise DamagedError(f"{self._file} is damaged: the signing root has no key")
        certificates.check_time(root.certificate, self._clock(), self._file)
        issuer = Pair(root.certificate, root.key)
        pair = certificates.make_intermediate(
            issuer, f"Causeway {region}", self._clock(), life, f"spiffe://{self.trust_domain}"
        )
        files.write(path, certificates.key_pem(pair.key) + certificates.pem(pair.certificate))

    # Replacing the root.

    def introduce(self) -> RootState:
        """Step 1. Raises StageError when a replacement is under way."""
        with self._locked():
            roots = self._load()
            if len(roots) > 1:
                raise StageError("the root is being replaced already; finish that first")
            pair = self._make()
            return self._step(roots | {"introduced": _Root(pair.certificate, pair.key, self._clock())})

    def switch(self) -> RootState:
        """Step 2: also signs the intermediates of all regions anew. Raises StageError before step 1."""
        with self._locked():
            roots = self._load()
            # A crash after the roots were saved, with some regions still to be signed, is made good by a
            # second call: hence no error when the step was taken already.
            if "introduced" in roots:
                retiring = replace(roots["signing"], key=None, since=self._clock())
                signing = replace(roots["introduced"], since=self._clock())
                roots = {"retiring": retiring, "signing": signing}
                self._save(roots)
            elif "retiring" not in roots:
                raise StageError("no new root was introduced")
            for path in sorted((self._folder / "regions").glob("*/authority.pem")):
                if self._due(path, roots):
                    self._sign(path, path.parent.name, roots["signing"], INTERMEDIATE_LIFE)
            self._publish(roots)
            return _state(roots)

    def retire(self, leaf_life: timedelta) -> RootState:
        """Step 3. `leaf_life` is how long leaves live at most.

        Raises:
            StageError: before step 2, or while leaves of the old root may still be in use.
        """
        with self._locked():
            roots = self._load()
            if "retiring" not in roots:
                raise StageError("no root is retiring")
            ready = roots["retiring"].since + leaf_life
            if self._clock() < ready:
                raise StageError(
                    f"certificates of the old root may be in use until {ready:%Y-%m-%d %H:%M:%S} UTC"
                )
            return self._step({"signing": roots["signing"]})

    # Files.

    def _make(self) -> Pair:
        return certificates.make_root(
            "Causeway root", self._clock(), ROOT_LIFE, f"spiffe://{self.trust_domain}"
        )

    def _step(self, roots: dict[str, _Root]) -> RootState:
        self._save(roots)
        self._publish(roots)
        return _state(roots)

    def _publish(self, roots: dict[str, _Root]) -> None:
        bundle = certificates.pem(*_state(roots).trusted)
        path = self._folder / "trust.pem"
        if not path.exists() or path.read_bytes() != bundle:
            files.write(path, bundle)

    def _save(self, roots: dict[str, _Root]) -> None:
        entries: dict[str, dict[str, str]] = {}
        for part, root in roots.items():
            data = (certificates.key_pem(root.key) if root.key else b"") + certificates.pem(root.certificate)
            entries[part] = {"pem": data.decode(), "since": root.since.isoformat()}
        document = {"version": _VERSION, "trust_domain": self.trust_domain, "roots": entries}
        files.write(self._file, json.dumps(document, indent=1).encode())

    def _load(self) -> dict[str, _Root]:
        try:
            document: Any = json.loads(files.read(self._file, private=True))
            if document["version"] != _VERSION:
                raise DamagedError(f"{self._file} was written by another version")
            entries = {
                str(part): (str(e["pem"]).encode(), e["since"]) for part, e in document["roots"].items()
            }
            sinces = {part: datetime.fromisoformat(since) for part, (_, since) in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{self._file} is damaged ({type(error).__name__})") from error
        if "signing" not in entries or not set(entries) <= {"signing", "introduced", "retiring"}:
            raise DamagedError(f"{self._file} is damaged: it has no signing root")
        return {part: self._root(data, sinces[part], part) for part, (data, _) in entries.items()}

    def _root(self, data: bytes, since: datetime, part: str) -> _Root:
        if part == "retiring":
            certificate, key = certificates.read_certificates(data, self._file)[0], None
        else:
            pair, _ = certificates.read_pair(data, self._file)
            certificate, key = pair.certificate, pair.key
        certificates.check_trust_domain(certificate, self.trust_domain, self._file)
        return _Root(certificate, key, since)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time: the supervisor and a person's command may both want to sign."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _state(roots: dict[str, _Root]) -> RootState:
    def certificate(part: str) -> Certificate | None:
        return roots[part].certificate if part in roots else None

    return RootState(
        signing=roots["signing"].certificate,
        introduced=certificate("introduced"),
        retiring=certificate("retiring"),
        changed=max(root.since for root in roots.values()),
    )

"""Keeps the authority in order, and gives every proxy the identity it starts with.

In a cluster a node's agent vouches for a new proxy; here the supervisor does, who starts it and may read the
authority's keys. Everything else reaches proxies over SDS, from their control planes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from mesh.local import envoy
from mesh.local.files import write_json_if_new
from mesh.local.spec import SetupError
from mesh.local.workloads import TRUST_DOMAIN, Workload
from mesh.pki import bootstrap
from mesh.pki.bootstrap import IdentityFiles
from mesh.pki.errors import PkiError
from mesh.pki.gateways import GatewayCertificates
from mesh.pki.regional import RegionalAuthority
from mesh.pki.root import RootAuthority, utc_now

LOOK = 1.0
"""Seconds between two looks at what the authority's files say."""
UPKEEP = timedelta(hours=1)
"""How often intermediates and gateways' certificates are looked at; they live for weeks."""

_log = logging.getLogger(__name__)


class Identities:
    """The certificates of one platform.

    `folders` says where each proxy's identity lies; `gateways` names each credential and the hosts it is for.
    """

    def __init__(
        self,
        pki: Path,
        regions: Sequence[str],
        folders: Mapping[Path, Workload],
        gateways: Mapping[str, Mapping[str, Sequence[str]]],
    ) -> None:
        self._pki = pki
        self._regions = regions
        self._folders = folders
        self._gateways = gateways
        self._due: dict[Path, datetime] = {}
        self._seen: dict[str, tuple[int, ...]] = {}

    def open(self) -> None:
        """Make what is missing, renew what is due. Raises SetupError when the authority cannot be used."""
        try:
            self._upkeep()
            self._renew()
        except PkiError as error:
            raise SetupError(f"the mesh's certificates: {error}") from error

    async def keep(self) -> None:
        """Renew what is due and follow changes of the authority, until cancelled."""
        upkeep = utc_now() + UPKEEP
        while True:
            await asyncio.sleep(LOOK)
            try:
                if utc_now() >= upkeep:
                    self._upkeep()
                    upkeep = utc_now() + UPKEEP
                self._renew()
            except (PkiError, OSError) as error:
                # What proxies have is still good for a third of its life; a person has that long.
                _log.error("cannot renew certificates: %s", error)

    def _upkeep(self) -> None:
        root = RootAuthority(self._pki, TRUST_DOMAIN)
        root.open_or_create()
        for region in self._regions:
            root.ensure_region(region)
            certificates = GatewayCertificates(self._pki, region)
            for name, hosts in self._gateways[region].items():
                certificates.ensure(name, hosts)

    def _renew(self) -> None:
        now = utc_now()
        for region in self._regions:
            changed = self._changed(region)
            # The front stands outside regions; the first one vouches for it.
            here = [
                (folder, workload)
                for folder, workload in self._folders.items()
                if (workload.region or self._regions[0]) == region
            ]
            due = [item for item in here if changed or self._due.get(item[0], now) <= now]
            if not due:
                continue
            authority = RegionalAuthority.open(self._pki, region, TRUST_DOMAIN)
            for folder, workload in due:
                self._due[folder] = bootstrap.ensure(authority, workload.identity, folder)
                _write_secrets(folder)

    def _changed(self, region: str) -> bool:
        stamps = tuple(_stamp(path) for path in RegionalAuthority.files(self._pki, region))
        if self._seen.get(region) == stamps:
            return False
        self._seen[region] = stamps
        return True


def _write_secrets(folder: Path) -> None:
    """What Envoy reads, from what `bootstrap` wrote."""
    files = IdentityFiles(folder)
    chain, key, roots = (path.read_text("ascii") for path in (files.certificate, files.key, files.trust))
    write_json_if_new(folder / envoy.IDENTITY_FILE, envoy.identity(chain, key))
    write_json_if_new(folder / envoy.TRUST_FILE, envoy.trust(roots))


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

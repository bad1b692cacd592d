"""The credentials a control plane gives out: each proxy's own, whom it trusts, and its gateways'."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mesh.ir.view import Proxy, ProxyKind
from mesh.pki.errors import PkiError
from mesh.pki.gateways import GatewayCertificates
from mesh.pki.regional import RegionalAuthority
from mesh.pki.secrets import IDENTITY, KUBERNETES, TRUST, TRUST_SUFFIX, certificate_secret, trust_secret
from mesh.pki.svid import Credential, Identity
from mesh.xds.server import proxy_key

log = logging.getLogger(__name__)

Key = tuple[ProxyKind, str, str]


@dataclass(slots=True)
class _Holder:
    """What one proxy was given."""

    proxy: Proxy
    credential: Credential
    secret: Any
    gateways: dict[str, Any] = field(default_factory=dict)


class Identities:
    """Issues, keeps in memory and renews. No private key of a workload is written anywhere."""

    def __init__(self, authority: RegionalAuthority, folder: Path, region: str, life: timedelta) -> None:
        self._authority = authority
        self._folder = folder
        self._region = region
        self._life = life
        self._holders: dict[Key, _Holder] = {}
        self._trust = trust_secret(TRUST, authority.bundle)
        self._gateways = GatewayCertificates(folder, region, authority.clock)
        self._gateway_secrets: dict[str, tuple[object, Any]] = {}
        self.problems: dict[str, str] = {}
        """What cannot be read or renewed, and why."""

    @property
    def authority(self) -> RegionalAuthority:
        """The region's, as it was last read in good order."""
        return self._authority

    def secrets(self, proxy: Proxy, credentials: Iterable[str]) -> Mapping[str, Any]:
        """The secrets of a proxy by name. The same objects until they are renewed.

        Raises:
            PkiError: one of them cannot be had.
        """
        if proxy.kind is ProxyKind.PROXYLESS:
            # gRPC clients know no SDS: they have their identity in files.
            return {}
        holder = self._holders.get(proxy_key(proxy))
        if holder is None or holder.proxy.spiffe_id != proxy.spiffe_id:
            holder = self._holders[proxy_key(proxy)] = self._issue(proxy)
        found = {IDENTITY: holder.secret, TRUST: self._trust}
        for credential in credentials:
            # A Gateway says `credentialName: x`, xDS calls the secret `kubernetes://x`.
            name = KUBERNETES + credential.removeprefix(KUBERNETES)
            found[name] = self._gateway(name)
        return found

    def _issue(self, proxy: Proxy) -> _Holder:
        identity = Identity(proxy.namespace, proxy.service_account, proxy.trust_domain)
        made = self._authority.issue(identity, life=self._life)
        return _Holder(proxy, made, certificate_secret(IDENTITY, made))

    def _gateway(self, name: str) -> Any:
        plain = name.removeprefix(KUBERNETES)
        try:
            if plain.endswith(TRUST_SUFFIX):
                content: Any = self._gateways.read_trust(plain.removesuffix(TRUST_SUFFIX))
            else:
                content = self._gateways.read(plain)
        except ValueError as error:
            raise PkiError(str(error)) from error
        known = self._gateway_secrets.get(name)
        if known is not None and known[0] == content:
            return known[1]
        make = trust_secret if isinstance(content, bytes) else certificate_secret
        secret = make(name, content)
        self._gateway_secrets[name] = (content, secret)
        return secret

    def credential(self, proxy: Proxy) -> Credential | None:
        """What the proxy was last given; None when it never asked."""
        holder = self._holders.get(proxy_key(proxy))
        return holder.credential if holder is not None else None

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop proxies that are no more."""
        for key in keys:
            self._holders.pop(key, None)

    def renew(self, now: datetime) -> bool:
        """Issue anew what is due; whether anything was. What cannot be renewed is kept and reported."""
        renewed = False
        for key, holder in list(self._holders.items()):
            if holder.credential.due(now):
                renewed = self._try_issue(key, holder) or renewed
        for name in list(self._gateway_secrets):
            plain = name.removeprefix(KUBERNETES)
            if not plain.endswith(TRUST_SUFFIX):
                renewed = self._try_gateway(plain) or renewed
        return renewed

    def _try_issue(self, key: Key, holder: _Holder) -> bool:
        what = f"{holder.proxy.namespace}/{holder.proxy.name}"
        try:
            self._holders[key] = self._issue(holder.proxy)
        except PkiError as error:
            self._problem(what, error)
            return False
        self.problems.pop(what, None)
        return True

    def _try_gateway(self, name: str) -> bool:
        what = f"gateway credential {name}"
        try:
            renewed = self._gateways.renew(name)
        except (PkiError, OSError) as error:
            self._problem(what, error)
            return False
        self.problems.pop(what, None)
        return renewed

    def _problem(self, what: str, error: Exception) -> None:
        if self.problems.get(what) != str(error):
            log.error("a credential cannot be renewed", extra={"what": what, "reason": str(error)})
        self.problems[what] = str(error)

    def reload(self) -> bool:
        """Read the authority's files again; whether anything changed.

        A new intermediate issues everybody's certificates anew; a new bundle is told to everybody. Files that
        cannot be used change nothing, and are reported.
        """
        before = self._authority
        try:
            authority = RegionalAuthority.open(self._folder, self._region, before.trust_domain, before.clock)
        except PkiError as error:
            self._problem("authority", error)
            return False
        self.problems.pop("authority", None)
        changed = False
        if authority.bundle != before.bundle:
            self._trust = trust_secret(TRUST, authority.bundle)
            changed = True
        self._authority = authority
        if authority.pair.certificate != before.pair.certificate:
            for key, holder in list(self._holders.items()):
                changed = self._try_issue(key, holder) or changed
        return changed

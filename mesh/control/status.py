"""The status file: how a control plane and its proxies stand, for `causeway mesh status` and for people.

One writer, any number of readers, replaced in one step. Readers compare `updated` with the clock: a control
plane that hangs or dies stops updating it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mesh.control.identities import Identities, Key
from mesh.control.pipeline import Problem
from mesh.ir.view import Proxy
from mesh.pki.certificates import Certificate
from mesh.pki.svid import Credential
from mesh.xds.report import ProxyReport, StreamReport
from mesh.xds.resources import SHORT
from mesh.xds.server import proxy_key
from mesh.xds.subscription import Rejection

VERSION = 1
LONGEST_REASON = 4096


@dataclass(slots=True, kw_only=True)
class ManifestStatus:
    """What the control plane made of the manifests."""

    version: str = ""
    """A hash of what is in use; empty while nothing is."""
    since: float = 0.0
    """When it came into use, seconds since the epoch."""
    read: float = 0.0
    """When the files were last read."""
    last_good: bool = False
    """The files are not in use as they are: `problems` says why, and the last good ones are in their
    place."""
    problems: tuple[Problem, ...] = ()
    kept: float = 0.0
    """When a copy of what is in use was last made, for a start at which the files are bad."""
    took: Mapping[str, float] = field(default_factory=dict)
    """Seconds that the steps of the last update took."""


def document(
    *,
    region: str,
    listen: str,
    started: float,
    manifests: ManifestStatus,
    proxies: Iterable[Proxy],
    reports: Iterable[ProxyReport],
    problems: Mapping[Key, str],
    identities: Identities,
    own: Credential,
) -> dict[str, Any]:
    """The whole account."""
    by_key = {proxy_key(report.proxy): report for report in reports}
    keys = {proxy_key(proxy): proxy for proxy in proxies} | {k: r.proxy for k, r in by_key.items()}
    authority = identities.authority
    return {
        "version": VERSION,
        "region": region,
        "listen": listen,
        "pid": os.getpid(),
        "started": started,
        "updated": time.time(),
        "manifests": {
            **asdict(manifests),
            "problems": [asdict(problem) for problem in manifests.problems],
        },
        "control_plane": {"identity": own.names[0], "certificate": _credential(own)},
        "authority": {
            "certificate": _certificate(authority.pair.certificate),
            "roots": [_certificate(root) for root in authority.trusted],
        },
        "problems": [
            {"what": what, "reason": reason} for what, reason in sorted(identities.problems.items())
        ],
        "proxies": [
            _proxy(proxy, by_key.get(key), problems.get(key, ""), identities.credential(proxy))
            for key, proxy in sorted(
                keys.items(), key=lambda item: (item[0][1], item[0][2], item[0][0].value)
            )
        ],
    }


def _proxy(
    proxy: Proxy, report: ProxyReport | None, problem: str, credential: Credential | None
) -> dict[str, Any]:
    return {
        "name": proxy.name,
        "namespace": proxy.namespace,
        "kind": proxy.kind.value,
        "identity": proxy.spiffe_id,
        "locality": str(proxy.locality),
        "connected": report is not None and report.connected,
        # A proxy that never came to this control plane may well be at another one.
        "state": report.state.value if report is not None else "absent",
        "problem": problem,
        "certificate": _credential(credential) if credential is not None else None,
        "streams": [_stream(stream) for stream in report.streams] if report is not None else [],
    }


def _stream(stream: StreamReport) -> dict[str, Any]:
    return {
        "node": stream.node_id,
        "protocol": stream.protocol,
        "connected": stream.connected,
        "since": stream.since,
        "answered": stream.answered,
        "version": stream.version,
        "synced": stream.synced,
        "rejections": [_rejection(rejection) for rejection in stream.rejections],
        "waiting": {SHORT.get(kind, kind): round(seconds, 3) for kind, seconds in stream.waiting.items()},
    }


def _rejection(rejection: Rejection) -> dict[str, Any]:
    return {
        "type": SHORT.get(rejection.type_url, rejection.type_url),
        "resource": rejection.name,
        "version": rejection.version,
        "reason": rejection.reason[:LONGEST_REASON],
        "using": rejection.good,
    }


def _credential(credential: Credential) -> dict[str, Any]:
    return {
        "serial": credential.serial,
        "issued": credential.issued.timestamp(),
        "renewed_at": credential.renew_at.timestamp(),
        "expires": credential.expires.timestamp(),
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "expires": certificate.not_valid_after_utc.timestamp(),
    }

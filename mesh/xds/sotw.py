"""What one client has of one resource type over the state-of-the-world protocol, without any I/O.

grpcio speaks this one. The rules that differ from delta's (`mesh.xds.subscription`):

W1  A request names everything the client wants; a name that is missing is no longer wanted. Empty, it means
    nothing is wanted, except that legacy wildcard (S4) holds for clusters and listeners.
W2  A response holds everything that is wanted and exists, changed or not. For clusters and listeners what is
    missing does not exist; for other types absence says nothing, so an answer without resources is not sent.
W3  A request whose nonce is not the newest is stale and is ignored as a whole: the client has not yet seen
    the newest response, and will say everything again when it answers that.
W4  A name that is new is answered, even when the state did not change.
W5  A rejected state is not sent again until it changes or other names are wanted. Clients of this protocol
    take the valid resources of a response that they reject, so nothing has to be tried apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from mesh.xds.resources import CLUSTER, LISTENER
from mesh.xds.subscription import LEGACY_WILDCARD, WILDCARD, Rejection, Request, Response, Verdict, mentioned

WHOLE = frozenset({CLUSTER, LISTENER})
"""Types of which a response is complete: what it lacks does not exist (W2)."""


class SotwSubscription:
    """One type on one state-of-the-world stream."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.wildcard = False
        self.names: frozenset[str] = frozenset()
        self.rejected: dict[str, Rejection] = {}
        self.good: dict[str, str] = {}
        self._begun = False
        self._named = False
        self._owed = False
        self._sent: dict[str, str] | None = None
        self._nonce = ""
        self._open: Response | None = None

    def receive(self, request: Request) -> Verdict | None:
        """Take in one request. Returns the verdict on the newest response, when the request holds one."""
        if request.nonce != self._nonce:
            return None
        first = not self._begun
        self._begun = True
        verdict = self._judge(request)
        self._named = self._named or bool(request.subscribe)
        wildcard = WILDCARD in request.subscribe or (self.type_url in LEGACY_WILDCARD and not self._named)
        names = frozenset(request.subscribe) - {WILDCARD}
        if first or not names <= self.names or (wildcard and not self.wildcard):
            self._owed = True
        if self._sent is not None and not wildcard:
            self._sent = {name: version for name, version in self._sent.items() if name in names}
        self.wildcard, self.names = wildcard, names
        return verdict

    def _judge(self, request: Request) -> Verdict | None:
        response, self._open = self._open, None
        if response is None:
            return None
        if request.error is None:
            self.good = dict(response.resources)
            self.rejected = {}
        else:
            culprits = mentioned(response.resources, request.error) or [""]
            self.rejected = {
                name: Rejection(
                    type_url=self.type_url,
                    name=name,
                    version=response.resources.get(name, ""),
                    reason=request.error,
                    good=self.good.get(name, ""),
                )
                for name in culprits
            }
            self.good |= {
                n: v for n, v in response.resources.items() if n not in culprits and culprits != [""]
            }
        return Verdict(response=response, error=request.error)

    def owe(self, names: object) -> None:
        """Nothing: clients of this protocol ask again by themselves."""

    def waiting(self, now: float, patience: float) -> bool:
        """Whether the newest response is still open and may yet be answered."""
        return self._open is not None and now < self._open.sent_at + patience

    @property
    def open_since(self) -> float | None:
        """When the unanswered response was sent."""
        return None if self._open is None else self._open.sent_at

    def next(self, versions: Mapping[str, str], nonce: str, now: float, *, removals: bool) -> Response | None:
        """The next response, None when the client has everything. Every response removes what it lacks, so
        `removals` means nothing here."""
        wanted = self._wanted(versions)
        if not self._owed and wanted == self._sent:
            return None
        self._owed = False
        if not wanted and self.type_url not in WHOLE:
            self._sent = wanted
            return None
        self._sent = wanted
        self._nonce = nonce
        self._open = Response(type_url=self.type_url, nonce=nonce, resources=wanted, sent_at=now)
        return self._open

    def _wanted(self, versions: Mapping[str, str]) -> dict[str, str]:
        if self.wildcard:
            return dict(versions)
        return {name: versions[name] for name in sorted(self.names) if name in versions}

    def rejections(self, versions: Mapping[str, str]) -> list[Rejection]:
        """Rejected versions that are still what the client should have."""
        return [r for n, r in self.rejected.items() if not n or versions.get(n) == r.version]

    def synced(self, versions: Mapping[str, str]) -> bool:
        """Whether the client has answered everything and has everything, rejected versions apart."""
        return self._open is None and not self._owed and self._wanted(versions) == self._sent


def state_version(resources: Mapping[str, str]) -> str:
    """The version of a whole state: a hash of its names and versions."""
    text = "\n".join(f"{name} {version}" for name, version in sorted(resources.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

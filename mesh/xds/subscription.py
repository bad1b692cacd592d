"""What one client has of one resource type over delta xDS: protocol state without sockets, clocks or
protobuf.

The rules, from https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol:

Subscribing
  S1  A name that is subscribed to is answered even when the client should have it already: it may have
      forgotten.
  S2  A name that does not exist is answered at once, in `removed`. When it comes into being it is sent.
  S3  `*` subscribes to everything the server has for this client (clusters and listeners ask so).
  S4  Legacy wildcard: a client that has never named anything on this stream has subscribed to `*`. Only
      clusters and listeners have it. Once a name was given, an empty list means nothing any more; `*` stays
      until it is unsubscribed.
  S5  The first answer to `*` is sent even when it is empty: a client waits for it before it starts.
Unsubscribing
  U1  Needs no answer, and neither does unsubscribing what was never subscribed to.
  U2  Except for a name that `*` covers as well: the client cannot know, so the resource is sent, or its
      removal.
Reconnecting
  R1  `initial_versions` of the first request say what the client still has: only what differs is sent. Names
      among them that no longer exist are removed.
Answering
  A1  Only differences are sent, and one response at a time is open. What changes meanwhile is not queued: the
      next response is computed from the newest state, so a slow client costs no memory.
  A2  A nonce tells which response is judged. A stale or unknown nonce judges nothing, but what the request
      subscribes to or unsubscribes from holds all the same.
  A3  A response that is not answered within the caller's patience is superseded; a late answer still counts.
Rejecting (NACK)
  N1  The client keeps what it had, so the last good version of each resource in the response is what it
      holds.
  N2  A rejected version is not sent again; a new version is, and so is one the client asks for by name (S1).
  N3  Clients may drop a whole response for one bad resource. So the valid ones go out again without it: the
      resources that the client's words name are tried one by one and the rest together; if it names none, the
      response is halved. A resource that is rejected alone is the culprit, and the reason is its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.xds.resources import CLUSTER, LISTENER

WILDCARD = "*"
LEGACY_WILDCARD = frozenset({CLUSTER, LISTENER})
"""Types for which rule S4 holds."""
ABSENT = ""
"""The version of a resource that does not exist, and of which the client was told so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A client's message, delta or state of the world, in plain words."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    """Delta: names added. State of the world: all names."""
    unsubscribe: tuple[str, ...] = ()
    """Delta only."""
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    """Delta only: name to version, in the first request of a type."""
    nonce: str = ""
    """Of the response that is judged; empty when none is."""
    error: str | None = None
    """Why the response is rejected; None when it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server is to send."""

    type_url: str
    nonce: str
    resources: Mapping[str, str]
    """Name to version."""
    removed: tuple[str, ...] = ()
    """Delta only."""
    sent_at: float
    """By the caller's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A resource that a client did not accept."""

    type_url: str
    name: str
    """Empty when a whole response was rejected that carried only removals."""
    version: str
    reason: str
    """In the client's words."""
    good: str
    """The version it still uses; empty when it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A client's answer to one response."""

    response: Response
    error: str | None
    """None: accepted."""


def mentioned(names: Iterable[str], words: str) -> list[str]:
    """Those of `names` that occur in `words` as a whole, not as a part of a longer name."""
    return [name for name in names if re.search(rf"(?<![\w|.-]){re.escape(name)}(?![\w|]|[.-]\w)", words)]


class DeltaSubscription:
    """One type on one delta stream."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.wildcard = False
        self.names: set[str] = set()
        """Subscribed by name; may be covered by the wildcard as well."""
        self.rejected: dict[str, Rejection] = {}
        self.good: dict[str, str] = {}
        """Name to the last version that the client accepted or came with."""
        self._begun = False
        self._held: dict[str, str] = {}
        """Name to what the client was last sent, or told, or came with."""
        self._owed: set[str] = set()
        """Names to be answered whatever their version."""
        self._owe_all = False
        self._announce = False
        """The first answer to a wildcard is still to come (S5)."""
        self._open: dict[str, Response] = {}
        """Nonce to response, oldest first; more than one only after A3."""
        self._retries: list[frozenset[str]] = []
        """Parts of rejected responses, each to be tried apart (N3)."""
        self._seen: Mapping[str, str] | None = None
        """The state that was last compared and found sent in full."""

    # What the client says.

    def receive(self, request: Request) -> Verdict | None:
        """Take in one request. Returns the verdict on an open response, when the request holds one."""
        first = not self._begun
        if first:
            self._begun = True
            self.wildcard = self.type_url in LEGACY_WILDCARD and not request.subscribe
        verdict = self._judge(request)
        self._subscribe(request, first=first)
        self._unsubscribe(request.unsubscribe)
        if first:
            kept = {name: v for name, v in request.initial_versions.items() if self._interested(name)}
            self._held |= kept
            self.good |= kept
            self._announce = self.wildcard
        self._seen = None
        return verdict

    def owe(self, names: Iterable[str]) -> None:
        """Answer these names whatever their version, as far as the client is interested in them."""
        self._owed.update(name for name in names if self._interested(name))
        self._seen = None

    def _interested(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def _subscribe(self, request: Request, *, first: bool) -> None:
        for name in request.subscribe:
            if name == WILDCARD:
                self._owe_all = not first
                self.wildcard = True
                continue
            self.names.add(name)
            if not (first and name in request.initial_versions):
                self._owed.add(name)

    def _unsubscribe(self, names: Iterable[str]) -> None:
        for name in names:
            if name == WILDCARD:
                self.wildcard = self._owe_all = self._announce = False
                for other in [*self._held, *self.rejected, *self.good, *self._owed]:
                    if other not in self.names:
                        self._forget(other)
            elif name in self.names:
                self.names.discard(name)
                if self.wildcard:
                    self._owed.add(name)
                else:
                    self._forget(name)

    def _forget(self, name: str) -> None:
        self._held.pop(name, None)
        self.good.pop(name, None)
        self.rejected.pop(name, None)
        self._owed.discard(name)

    def _judge(self, request: Request) -> Verdict | None:
        response = self._open.get(request.nonce)
        if response is None:
            return None
        for nonce in list(self._open):
            del self._open[nonce]
            if nonce == request.nonce:
                break
        if request.error is None:
            self._accepted(response)
        else:
            self._refused(response, request.error)
        return Verdict(response=response, error=request.error)

    def _accepted(self, response: Response) -> None:
        for name, version in response.resources.items():
            if self._held.get(name) == version:
                self.good[name] = version
            elif name not in self._held and self._interested(name):
                # Unsubscribed and subscribed again while this was on its way: whether the client dropped it
                # on arrival depends on what it had said by then. It is told again.
                self._owed.add(name)
            self.rejected.pop(name, None)
        for name in response.removed:
            self.good.pop(name, None)
            self.rejected.pop(name, None)
        self.rejected.pop("", None)

    def _refused(self, response: Response, reason: str) -> None:
        for name, version in response.resources.items():
            if self._held.get(name) == version:
                self._hold(name, self.good.get(name))
        removed = [name for name in response.removed if self._interested(name)]
        if len(response.resources) + bool(response.removed) <= 1:
            name, version = next(iter(response.resources.items()), ("", ""))
            if not name or self._interested(name):
                self.rejected[name] = Rejection(
                    type_url=self.type_url,
                    name=name,
                    version=version,
                    reason=reason,
                    good=self.good.get(name, ""),
                )
            return
        named = mentioned(response.resources, reason)
        rest = [name for name in response.resources if name not in named]
        if not named and not response.removed:
            half = len(rest) // 2
            parts = [rest[:half], rest[half:]]
        else:
            # Removals alone, so that they cannot be refused for the sake of another.
            parts = [rest, *([name] for name in named), removed]
        self._retries += [frozenset(part) for part in parts if part]

    def _hold(self, name: str, version: str | None) -> None:
        if version is None:
            self._held.pop(name, None)
        else:
            self._held[name] = version

    # What the client is to be told.

    def waiting(self, now: float, patience: float) -> bool:
        """Whether the newest response is still open and may yet be answered."""
        newest = next(reversed(self._open.values()), None)
        return newest is not None and now < newest.sent_at + patience

    @property
    def open_since(self) -> float | None:
        """When the oldest unanswered response was sent."""
        oldest = next(iter(self._open.values()), None)
        return None if oldest is None else oldest.sent_at

    def next(self, versions: Mapping[str, str], nonce: str, now: float, *, removals: bool) -> Response | None:
        """The next response, None when the client has everything. `versions` is what there is for this
        client.

        Without `removals`, resources that ceased to be are left to a later call: whoever points at them has
        to hear first. Call it only while no response is open.
        """
        while self._retries:
            part = self._retries.pop(0)
            changed = {name: versions[name] for name in part if name in versions and self._interested(name)}
            removed = [name for name in part if name not in versions and self._interested(name)]
            if changed or removed:
                return self._send(changed, removed, nonce, now)
        if versions is self._seen:
            return None
        changed = self._changed(versions)
        removed, deferred = self._removed(versions, removals=removals)
        if not changed and not removed and not self._announce:
            self._seen = None if deferred else versions
            return None
        self._owe_all = self._announce = False
        return self._send(changed, removed, nonce, now)

    def _changed(self, versions: Mapping[str, str]) -> dict[str, str]:
        wanted = versions if self.wildcard else {n: versions[n] for n in self.names if n in versions}
        changed = {}
        for name, version in wanted.items():
            if self._owe_all or name in self._owed:
                changed[name] = version
            elif self._held.get(name) != version:
                rejection = self.rejected.get(name)
                if rejection is None or rejection.version != version:
                    changed[name] = version
        return changed

    def _removed(self, versions: Mapping[str, str], *, removals: bool) -> tuple[list[str], bool]:
        """Names to be removed now, and whether others were put off."""
        gone = [name for name, version in self._held.items() if version != ABSENT and name not in versions]
        unknown = [name for name in self.names if name not in versions and name not in self._held]
        again = [name for name in self._owed if name not in versions]
        now = {*unknown, *again, *(gone if removals else ())}
        return sorted(now), not removals and any(name not in now for name in gone)

    def _send(self, changed: dict[str, str], removed: list[str], nonce: str, now: float) -> Response:
        for name in removed:
            self._hold(name, ABSENT if name in self.names else None)
        self._held |= changed
        self._owed.difference_update(changed, removed)
        response = Response(
            type_url=self.type_url, nonce=nonce, resources=changed, removed=tuple(removed), sent_at=now
        )
        self._open[nonce] = response
        return response

    def rejections(self, versions: Mapping[str, str]) -> list[Rejection]:
        """Rejected versions that are still what the client should have."""
        return [r for n, r in self.rejected.items() if not n or versions.get(n) == r.version]

    def synced(self, versions: Mapping[str, str]) -> bool:
        """Whether the client has answered everything and has everything, rejected versions apart."""
        if self._open or self._retries or self._owed or self._announce:
            return False
        return versions is self._seen or (
            not self._changed(versions) and not any(self._removed(versions, removals=True))
        )

"""The order in which one client hears of changes: all types of one ADS stream, without any I/O.

Make before break. Clusters and their endpoints go first; listeners and routes wait until the client has
answered the clusters, which Envoy does only once new ones are warm, so no route points at a cluster that
cannot take calls. What ceased to be is removed last, when nothing points at it any more: routes, endpoints,
then clusters. While a listener or a route table stands rejected, the client still uses its last good version,
so nothing else is taken away from it.

Secrets wait for nobody, and nobody waits longer than `patience` for an answer: a client that hangs or warms a
cluster for long gets the rest in order, only later. (Envoy 1.40 also withholds the rejection of a cluster
that it finds bad only when warming it, such as a ring with its sizes reversed, until that cluster is taken
away.)

Envoy warms a cluster that changed until it is sent its endpoints again, and does not ask for them when it
has asked before (https://github.com/envoyproxy/envoy/issues/13009). So whoever is sent a cluster is sent the
endpoints of it next, changed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from mesh.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ORDER, ROUTES, SHORT
from mesh.xds.sotw import SotwSubscription
from mesh.xds.subscription import DeltaSubscription, Rejection, Request, Response, Verdict

PATIENCE = 5.0
"""Seconds until an unanswered response no longer holds up others."""

MAX_TYPES = 32
"""Types one stream may ask for; there are six, and clients may know some that this server does not."""

_AFTER_CLUSTERS = frozenset({LISTENER, ROUTES, EXTENSION})
_USES_OTHERS = (LISTENER, ROUTES)
_REMOVED_AT_ONCE = frozenset({LISTENER})


class View(Protocol):
    """What there is for one client."""

    def versions(self, type_url: str) -> Mapping[str, str]:
        """Name to version. The same object as long as nothing in it changes."""

    def endpoints_of(self, cluster: str) -> Collection[str]:
        """Names of the endpoint resources that a cluster is filled by."""


Subscription = DeltaSubscription | SotwSubscription
"""What a client has of one type, in the one protocol or the other."""


class LimitError(Exception):
    """A client asks for more than a stream may."""


class AdsStream:
    """All that one client was told over one stream, and when to tell it what."""

    def __init__(
        self,
        kind: Callable[[str], Subscription],
        *,
        patience: float = PATIENCE,
        max_names: int = 20_000,
    ) -> None:
        """`kind` makes the state of a type: it decides which protocol is spoken."""
        self._kind = kind
        self._patience = patience
        self._max_names = max_names
        self._types: dict[str, Subscription] = {}
        self._count = 0
        self._warming: set[str] = set()
        """Endpoint resources to be sent again for the sake of their clusters."""

    def receive(self, request: Request) -> Verdict | None:
        """Take in one request.

        Raises:
            LimitError: it asks for too many types or names.
        """
        subscription = self._types.get(request.type_url)
        if subscription is None:
            if len(self._types) >= MAX_TYPES:
                raise LimitError(f"more than {MAX_TYPES} resource types on one stream")
            subscription = self._types[request.type_url] = self._kind(request.type_url)
        verdict = subscription.receive(request)
        if len(subscription.names) > self._max_names:
            raise LimitError(f"more than {self._max_names} names of {request.type_url}")
        return verdict

    def due(self, view: View, now: float) -> list[Response]:
        """What to send now, in order. Call it again after each request, each change of the view, and at
        `deadline`."""
        responses = []
        for type_url in self._in_order():
            if type_url in _AFTER_CLUSTERS and self._waits(CLUSTER, now):
                continue
            response = self._next(type_url, view, now, removals=type_url in _REMOVED_AT_ONCE)
            if response is not None:
                responses.append(response)
                if type_url == CLUSTER:
                    for name in response.resources:
                        self._warming.update(view.endpoints_of(name))
        if self._may_remove(view, now):
            for type_url in reversed(self._in_order()):
                response = self._next(type_url, view, now, removals=True)
                if response is not None:
                    responses.append(response)
        return responses

    def deadline(self, now: float) -> float | None:
        """When the next answer is given up on; None while nothing is waited for."""
        ends = [s.open_since + self._patience for s in self._types.values() if s.open_since is not None]
        return min((end for end in ends if end > now), default=None)

    def synced(self, view: View) -> bool:
        """Whether the client has all of the view, rejected versions apart."""
        return bool(self._types) and all(s.synced(view.versions(t)) for t, s in self._types.items())

    def rejections(self, view: View) -> list[Rejection]:
        """What the client refuses of the view."""
        return [r for t, s in self._types.items() for r in s.rejections(view.versions(t))]

    def unanswered(self) -> dict[str, float]:
        """Type to when the oldest response of it was sent that has no answer yet."""
        return {t: s.open_since for t, s in self._types.items() if s.open_since is not None}

    def accepted(self) -> dict[str, Mapping[str, str]]:
        """Type to name to the last version that the client accepted."""
        return {t: s.good for t, s in self._types.items()}

    def _in_order(self) -> list[str]:
        others = [type_url for type_url in self._types if type_url not in SHORT]
        return [type_url for type_url in ORDER if type_url in self._types] + others

    def _waits(self, type_url: str, now: float) -> bool:
        subscription = self._types.get(type_url)
        return subscription is not None and subscription.waiting(now, self._patience)

    def _next(self, type_url: str, view: View, now: float, *, removals: bool) -> Response | None:
        subscription = self._types[type_url]
        if subscription.waiting(now, self._patience):
            return None
        if type_url == ENDPOINTS and self._warming:
            subscription.owe(self._warming)
        nonce = f"{SHORT.get(type_url, 'other')}-{self._count + 1}"
        response = subscription.next(view.versions(type_url), nonce, now, removals=removals)
        if response is not None:
            self._count += 1
            if type_url == ENDPOINTS:
                self._warming.difference_update(response.resources)
        return response

    def _may_remove(self, view: View, now: float) -> bool:
        if self._waits(CLUSTER, now):
            return False
        for type_url in _USES_OTHERS:
            subscription = self._types.get(type_url)
            if subscription is not None and (
                self._waits(type_url, now) or subscription.rejections(view.versions(type_url))
            ):
                return False
        return True

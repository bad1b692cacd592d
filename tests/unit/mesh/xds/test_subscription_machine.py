"""A client that follows the protocol ends up with what it should have, whatever happens on the way."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mesh.xds.resources import CLUSTER
from mesh.xds.subscription import WILDCARD, DeltaSubscription, Request, Response

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
VERSIONS = st.sampled_from(["1", "2", "3", "bad-1", "bad-2"])


class Client:
    """As Envoy does it, and as badly as it may: one bad resource, and the whole response is refused."""

    def __init__(self, *, names_culprits: bool) -> None:
        self.cache: dict[str, str] = {}
        self.names: set[str] = set()
        self.wildcard = False
        self.names_culprits = names_culprits

    def take(self, response: Response) -> Request:
        bad = [name for name, version in response.resources.items() if version.startswith("bad")]
        if bad:
            words = f"cannot use {', '.join(bad)}" if self.names_culprits else "cannot use it"
            return Request(type_url=CLUSTER, nonce=response.nonce, error=words)
        for name, version in response.resources.items():
            if self.wildcard or name in self.names:
                self.cache[name] = version
        for name in response.removed:
            self.cache.pop(name, None)
        return Request(type_url=CLUSTER, nonce=response.nonce)


class DeltaProtocol(RuleBasedStateMachine):
    """Messages travel in order but take their time; the configuration changes at any moment."""

    @initialize(names_culprits=st.booleans(), legacy=st.booleans())
    def connect(self, names_culprits: bool, legacy: bool) -> None:
        self.view: dict[str, str] = {}
        self.client = Client(names_culprits=names_culprits)
        self.client.wildcard = True
        self.begin([] if legacy else [WILDCARD])

    def begin(self, subscribe: list[str]) -> None:
        self.server = DeltaSubscription(CLUSTER)
        self.to_server: deque[Request] = deque()
        self.to_client: deque[Response] = deque()
        self.count = 0
        self.to_server.append(
            Request(type_url=CLUSTER, subscribe=tuple(subscribe), initial_versions=dict(self.client.cache))
        )

    @rule(name=NAMES, version=VERSIONS)
    def change(self, name: str, version: str) -> None:
        self.view = {**self.view, name: version}

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.view = {key: version for key, version in self.view.items() if key != name}

    @rule(name=NAMES)
    def subscribe(self, name: str) -> None:
        self.client.names.add(name)
        self.to_server.append(Request(type_url=CLUSTER, subscribe=(name,)))

    @rule(name=NAMES)
    def unsubscribe(self, name: str) -> None:
        if name in self.client.names:
            self.client.names.discard(name)
            if not self.client.wildcard:
                self.client.cache.pop(name, None)
            self.to_server.append(Request(type_url=CLUSTER, unsubscribe=(name,)))

    @rule(on=st.booleans())
    def wildcard(self, on: bool) -> None:
        # A name must have been given before the legacy wildcard can be left.
        self.client.wildcard = on
        if on:
            self.to_server.append(Request(type_url=CLUSTER, subscribe=(WILDCARD,)))
        else:
            self.client.cache = {n: v for n, v in self.client.cache.items() if n in self.client.names}
            self.to_server.append(Request(type_url=CLUSTER, unsubscribe=(WILDCARD,)))

    @rule()
    def reconnect(self) -> None:
        subscribe = sorted(self.client.names)
        if self.client.wildcard:
            subscribe.append(WILDCARD)
        if subscribe:
            self.begin(subscribe)

    @rule()
    def server_turn(self) -> None:
        if self.to_server:
            self.server.receive(self.to_server.popleft())
        elif not self.server.waiting(0.0, 1.0):
            self.send()

    @rule()
    def impatient_server_turn(self) -> None:
        """The answer to a response takes too long, and another is sent."""
        if not self.to_server:
            self.send()

    def send(self) -> None:
        self.count += 1
        response = self.server.next(self.view, f"n{self.count}", 0.0, removals=True)
        if response is not None:
            assert not set(response.resources) & set(response.removed)
            self.to_client.append(response)

    @rule()
    def client_turn(self) -> None:
        if self.to_client:
            self.to_server.append(self.client.take(self.to_client.popleft()))

    @rule()
    def settle(self) -> None:
        for _ in range(200):
            before = self.count
            self.client_turn()
            self.server_turn()
            if self.count > before and not self.to_client and not self.to_server:
                break
        else:
            raise AssertionError("client and server talk for ever")
        self.check()

    def check(self) -> None:
        client, refused = self.client, {r.name for r in self.server.rejections(self.view)}
        wanted = {n: v for n, v in self.view.items() if client.wildcard or n in client.names}
        for name, version in wanted.items():
            if version.startswith("bad"):
                assert name in refused
                assert not client.cache.get(name, "").startswith("bad")
            else:
                assert client.cache.get(name) == version
        assert not client.cache.keys() - wanted.keys()
        assert refused == {n for n, v in wanted.items() if v.startswith("bad")}
        assert self.server.synced(self.view)

    def teardown(self) -> None:
        if hasattr(self, "server"):
            self.settle()


DeltaProtocol.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestDeltaProtocol = DeltaProtocol.TestCase

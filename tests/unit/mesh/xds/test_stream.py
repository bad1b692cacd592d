"""In which order a client hears of changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import pytest

from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, SHORT
from mesh.xds.stream import MAX_TYPES, AdsStream, LimitError
from mesh.xds.subscription import DeltaSubscription, Request, Response


class FakeView:
    """Versions by short type name; a cluster `c` is filled by the endpoints `c`."""

    def __init__(self, **types: Mapping[str, str]) -> None:
        self._types = {kind: MappingProxyType(dict(names)) for kind, names in types.items()}

    def versions(self, type_url: str) -> Mapping[str, str]:
        return self._types.get(SHORT[type_url], MappingProxyType({}))

    def endpoints_of(self, cluster: str) -> Collection[str]:
        return [cluster]


class Envoy:
    """Asks for everything, and accepts when told to."""

    def __init__(self, view: FakeView) -> None:
        self.stream = AdsStream(DeltaSubscription)
        self.view = view
        self.now = 0.0
        self.open: dict[str, str] = {}
        for type_url in (CLUSTER, LISTENER):
            self.stream.receive(Request(type_url=type_url))
        for type_url in (ENDPOINTS, ROUTES, SECRET):
            names = tuple(view.versions(type_url))
            self.stream.receive(Request(type_url=type_url, subscribe=names))

    def due(self) -> list[str]:
        return [self._note(response) for response in self.stream.due(self.view, self.now)]

    def _note(self, response: Response) -> str:
        kind = SHORT[response.type_url]
        self.open[kind] = response.nonce
        changed = [f"+{name}" for name in response.resources]
        return f"{kind} {' '.join([*changed, *(f'-{name}' for name in response.removed)])}".strip()

    def answer(self, kind: str, error: str | None = None) -> None:
        type_url = next(url for url, short in SHORT.items() if short == kind)
        self.stream.receive(Request(type_url=type_url, nonce=self.open.pop(kind), error=error))

    def settle(self) -> list[str]:
        heard = []
        for _ in range(20):
            heard += self.due()
            if not self.open:
                return heard
            for kind in list(self.open):
                self.answer(kind)
        raise AssertionError("no end")


@pytest.fixture
def envoy() -> Envoy:
    view = FakeView(CDS={"a": "1"}, EDS={"a": "1"}, LDS={"l": "1"}, RDS={"r": "1"}, SDS={"default": "1"})
    envoy = Envoy(view)
    envoy.settle()
    assert envoy.stream.synced(view)
    return envoy


def test_clusters_go_first_and_listeners_and_routes_wait_for_their_acceptance(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"a": "2"}, EDS={"a": "2"}, LDS={"l": "2"}, RDS={"r": "2"}, SDS={"default": "2"}
    )
    assert envoy.due() == ["CDS +a", "EDS +a", "SDS +default"]
    assert envoy.due() == [], "nothing is sent twice"
    envoy.answer("EDS")
    assert envoy.due() == []
    envoy.answer("CDS")
    assert envoy.due() == ["LDS +l", "RDS +r"]


def test_rejected_clusters_hold_nothing_up(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"a": "2"}, EDS={"a": "1"}, LDS={"l": "1"}, RDS={"r": "2"}, SDS={"default": "1"}
    )
    envoy.due()
    envoy.answer("CDS", "no")
    assert envoy.due() == ["RDS +r"]


def test_a_client_that_does_not_answer_gets_the_rest_after_a_while(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"a": "2"}, EDS={"a": "1"}, LDS={"l": "1"}, RDS={"r": "2"}, SDS={"default": "1"}
    )
    envoy.due()
    envoy.now = 4.9
    assert envoy.due() == []
    assert envoy.stream.deadline(envoy.now) == pytest.approx(5.0)
    envoy.now = 5.0
    assert envoy.due() == ["RDS +r"]


def test_what_is_gone_is_removed_after_nothing_points_at_it_any_more(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"b": "1"}, EDS={"b": "1"}, LDS={"l": "1"}, RDS={"r": "2"}, SDS={"default": "1"}
    )
    assert envoy.due() == ["CDS +b"]
    envoy.answer("CDS")
    assert envoy.due() == ["RDS +r"]
    assert envoy.due() == []
    envoy.answer("RDS")
    assert envoy.due() == ["EDS -a", "CDS -a"]


def test_nothing_is_taken_away_from_a_client_that_still_uses_an_old_route(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"b": "1"}, EDS={"b": "1"}, LDS={"l": "1"}, RDS={"r": "2"}, SDS={"default": "1"}
    )
    envoy.due()
    envoy.answer("CDS")
    envoy.due()
    envoy.answer("RDS", "no such filter")
    assert envoy.due() == []
    envoy.view = FakeView(
        CDS={"b": "1"}, EDS={"b": "1"}, LDS={"l": "1"}, RDS={"r": "3"}, SDS={"default": "1"}
    )
    assert envoy.due() == ["RDS +r"]
    envoy.answer("RDS")
    assert envoy.due() == ["EDS -a", "CDS -a"]


def test_a_cluster_that_changed_is_followed_by_its_endpoints_though_they_did_not(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"a": "2"}, EDS={"a": "1"}, LDS={"l": "1"}, RDS={"r": "1"}, SDS={"default": "1"}
    )
    assert envoy.due() == ["CDS +a", "EDS +a"]
    envoy.answer("CDS")
    envoy.answer("EDS")
    assert envoy.due() == []


def test_a_client_that_comes_back_gets_the_endpoints_of_changed_clusters_whatever_it_has(
    envoy: Envoy,
) -> None:
    envoy.stream = AdsStream(DeltaSubscription)
    envoy.view = FakeView(CDS={"a": "2"}, EDS={"a": "1"})
    envoy.stream.receive(Request(type_url=CLUSTER, subscribe=("*",), initial_versions={"a": "1"}))
    assert envoy.due() == ["CDS +a"]
    envoy.stream.receive(Request(type_url=ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"}))
    assert envoy.due() == ["EDS +a"]


def test_a_client_that_comes_back_with_everything_is_sent_nothing(envoy: Envoy) -> None:
    envoy.stream = AdsStream(DeltaSubscription)
    envoy.stream.receive(Request(type_url=CLUSTER, subscribe=("*",), initial_versions={"a": "1"}))
    envoy.stream.receive(Request(type_url=ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"}))
    assert envoy.due() == ["CDS"]


def test_an_endpoint_change_alone_is_sent_at_once_and_alone(envoy: Envoy) -> None:
    envoy.view = FakeView(
        CDS={"a": "1"}, EDS={"a": "2"}, LDS={"l": "1"}, RDS={"r": "1"}, SDS={"default": "1"}
    )
    assert envoy.due() == ["EDS +a"]


def test_a_type_that_the_server_does_not_know_has_no_resources(envoy: Envoy) -> None:
    stream = AdsStream(DeltaSubscription)
    stream.receive(Request(type_url="type.googleapis.com/unknown.Type", subscribe=("x",)))

    class Nothing:
        def versions(self, type_url: str) -> Mapping[str, str]:
            return {}

        def endpoints_of(self, cluster: str) -> Collection[str]:
            return ()

    (response,) = stream.due(Nothing(), 0.0)
    assert response.removed == ("x",)


def test_a_client_may_not_ask_without_end() -> None:
    stream = AdsStream(DeltaSubscription, max_names=3)
    with pytest.raises(LimitError):
        stream.receive(Request(type_url=ENDPOINTS, subscribe=("a", "b", "c", "d")))
    stream = AdsStream(DeltaSubscription)
    with pytest.raises(LimitError):
        for number in range(MAX_TYPES + 1):
            stream.receive(Request(type_url=f"type{number}"))

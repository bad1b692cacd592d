"""The rules at the head of mesh/xds/sotw.py, one by one."""

from __future__ import annotations

from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER
from mesh.xds.sotw import SotwSubscription, state_version
from mesh.xds.subscription import Request, Response

VIEW = {"a": "1", "b": "1"}


def say(s: SotwSubscription, *names: str, nonce: str = "", error: str | None = None) -> None:
    s.receive(Request(type_url=s.type_url, subscribe=names, nonce=nonce, error=error))


def hear(s: SotwSubscription, view: dict[str, str], nonce: str = "n") -> Response | None:
    return s.next(view, nonce, 0.0, removals=True)


def test_each_response_holds_the_whole_state() -> None:
    s = SotwSubscription(CLUSTER)
    say(s, "a", "b", "c")
    first = hear(s, VIEW, "n1")
    assert first is not None
    assert first.resources == VIEW
    say(s, "a", "b", "c", nonce="n1")
    second = hear(s, {"a": "1", "b": "2"}, "n2")
    assert second is not None
    assert second.resources == {"a": "1", "b": "2"}, "what did not change is there as well"
    assert state_version(first.resources) != state_version(second.resources)


def test_a_client_that_names_nothing_gets_all_clusters_but_no_endpoints() -> None:
    clusters, endpoints = SotwSubscription(CLUSTER), SotwSubscription(ENDPOINTS)
    say(clusters)
    say(endpoints)
    response = hear(clusters, VIEW)
    assert response is not None
    assert response.resources == VIEW
    assert hear(endpoints, VIEW) is None


def test_a_client_that_named_something_gets_nothing_for_an_empty_list() -> None:
    s = SotwSubscription(CLUSTER)
    say(s, "a")
    hear(s, VIEW, "n1")
    say(s, nonce="n1")
    assert hear(s, {"a": "2", "b": "2"}, "n2") is None
    assert s.names == frozenset()


def test_a_stale_request_is_ignored_as_a_whole() -> None:
    s = SotwSubscription(CLUSTER)
    say(s, "a")
    hear(s, VIEW, "n1")
    say(s, "a", nonce="n1")
    hear(s, {"a": "2"}, "n2")
    say(s, "b", nonce="n1", error="about the first")
    assert s.names == {"a"}
    assert not s.rejected
    assert s.open_since is not None


def test_a_listener_that_does_not_exist_is_missing_from_an_answer_and_a_route_table_gets_none() -> None:
    listeners, endpoints = SotwSubscription(LISTENER), SotwSubscription(ENDPOINTS)
    say(listeners, "x")
    say(endpoints, "x")
    response = hear(listeners, VIEW)
    assert response is not None
    assert response.resources == {}
    assert hear(endpoints, VIEW) is None


def test_a_new_name_is_answered_though_nothing_changed() -> None:
    s = SotwSubscription(ENDPOINTS)
    say(s, "a")
    hear(s, VIEW, "n1")
    say(s, "a", "b", nonce="n1")
    response = hear(s, VIEW, "n2")
    assert response is not None
    assert response.resources == VIEW


def test_a_name_that_is_dropped_needs_no_answer() -> None:
    s = SotwSubscription(ENDPOINTS)
    say(s, "a", "b")
    hear(s, VIEW, "n1")
    say(s, "a", nonce="n1")
    assert hear(s, VIEW, "n2") is None
    assert s.synced(VIEW)


def test_a_rejected_state_is_not_sent_again_until_it_changes() -> None:
    s = SotwSubscription(CLUSTER)
    say(s, "a", "b")
    hear(s, VIEW, "n1")
    say(s, "a", "b", nonce="n1")
    bad = {"a": "bad", "b": "2"}
    hear(s, bad, "n2")
    say(s, "a", "b", nonce="n2", error="[resource index 0: a: INVALID_ARGUMENT: no]")
    assert hear(s, bad, "n3") is None
    (rejection,) = s.rejections(bad)
    assert (rejection.name, rejection.version, rejection.good) == ("a", "bad", "1")
    assert s.good == {"a": "1", "b": "2"}, "clients take what is valid"
    assert hear(s, {"a": "3", "b": "2"}, "n4") is not None

"""The rules at the head of mesh/xds/subscription.py, one by one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mesh.xds.resources import CLUSTER, ENDPOINTS
from mesh.xds.subscription import DeltaSubscription, Request, Response, mentioned


class Talk:
    """A conversation with one subscription."""

    def __init__(self, type_url: str = CLUSTER) -> None:
        self.subscription = DeltaSubscription(type_url)
        self.type_url = type_url
        self.versions: dict[str, str] = {}
        self._count = 0

    def say(
        self,
        *subscribe: str,
        unsubscribe: tuple[str, ...] = (),
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> None:
        self.subscription.receive(
            Request(
                type_url=self.type_url,
                subscribe=subscribe,
                unsubscribe=unsubscribe,
                initial_versions=initial or {},
                nonce=nonce,
                error=error,
            )
        )

    def hear(self, *, removals: bool = True) -> Response | None:
        if self.subscription.waiting(now=0.0, patience=1.0):
            return None
        self._count += 1
        return self.subscription.next(dict(self.versions), f"n{self._count}", 0.0, removals=removals)

    def hears(self, resources: Mapping[str, str], removed: tuple[str, ...] = ()) -> None:
        """The next response has exactly this; it is accepted."""
        response = self.hear()
        assert response is not None
        assert (dict(response.resources), response.removed) == (dict(resources), removed)
        self.say(nonce=response.nonce)

    def hears_nothing(self) -> None:
        assert self.hear() is None
        assert self.subscription.synced(self.versions)


@pytest.fixture
def clusters() -> Talk:
    talk = Talk()
    talk.versions = {"a": "1", "b": "1"}
    return talk


@pytest.fixture
def endpoints() -> Talk:
    talk = Talk(ENDPOINTS)
    talk.versions = {"a": "1", "b": "1"}
    return talk


def test_a_client_that_names_nothing_gets_all_clusters(clusters: Talk) -> None:
    clusters.say()
    clusters.hears({"a": "1", "b": "1"})
    clusters.hears_nothing()


def test_a_client_that_names_nothing_gets_no_endpoints(endpoints: Talk) -> None:
    endpoints.say()
    endpoints.hears_nothing()


def test_an_empty_wildcard_is_answered_once_so_that_the_client_can_start() -> None:
    talk = Talk()
    talk.say()
    talk.hears({})
    talk.hears_nothing()


def test_only_what_changed_is_sent(clusters: Talk) -> None:
    clusters.say("*")
    clusters.hears({"a": "1", "b": "1"})
    clusters.versions = {"a": "2", "b": "1", "c": "1"}
    clusters.hears({"a": "2", "c": "1"})
    clusters.versions = {"c": "1"}
    clusters.hears({}, ("a", "b"))
    clusters.hears_nothing()


def test_only_what_is_named_is_sent(endpoints: Talk) -> None:
    endpoints.say("a")
    endpoints.hears({"a": "1"})
    endpoints.versions["b"] = "2"
    endpoints.hears_nothing()


def test_a_name_asked_for_again_is_answered_again(endpoints: Talk) -> None:
    endpoints.say("a")
    endpoints.hears({"a": "1"})
    endpoints.say("a")
    endpoints.hears({"a": "1"})
    endpoints.hears_nothing()


def test_a_name_that_does_not_exist_is_told_so_and_sent_when_it_does(endpoints: Talk) -> None:
    endpoints.say("a", "later")
    endpoints.hears({"a": "1"}, ("later",))
    endpoints.hears_nothing()
    endpoints.versions["later"] = "1"
    endpoints.hears({"later": "1"})


def test_once_something_was_named_an_empty_list_is_no_wildcard_any_more(clusters: Talk) -> None:
    clusters.say("a")
    clusters.hears({"a": "1"})
    clusters.say(unsubscribe=("a",))
    clusters.hears_nothing()
    clusters.say()
    clusters.hears_nothing()


def test_the_legacy_wildcard_stays_when_a_name_is_added_and_ends_when_it_is_unsubscribed(
    clusters: Talk,
) -> None:
    clusters.say()
    clusters.hears({"a": "1", "b": "1"})
    clusters.say("a")
    clusters.hears({"a": "1"})
    clusters.say(unsubscribe=("*",))
    clusters.versions = {"a": "2", "b": "2"}
    clusters.hears({"a": "2"})
    clusters.hears_nothing()


def test_unsubscribing_needs_no_answer(endpoints: Talk) -> None:
    endpoints.say("a", "b")
    endpoints.hears({"a": "1", "b": "1"})
    endpoints.say(unsubscribe=("a", "never-subscribed"))
    endpoints.versions = {"a": "2", "b": "1"}
    endpoints.hears_nothing()


def test_unsubscribing_a_name_that_the_wildcard_covers_is_answered_with_the_resource(clusters: Talk) -> None:
    clusters.say("*", "a")
    clusters.hears({"a": "1", "b": "1"})
    clusters.say(unsubscribe=("a",))
    clusters.hears({"a": "1"})
    clusters.hears_nothing()


def test_unsubscribing_a_name_that_the_wildcard_does_not_cover_is_answered_with_its_removal(
    clusters: Talk,
) -> None:
    clusters.say("*", "x")
    clusters.hears({"a": "1", "b": "1"}, ("x",))
    clusters.say(unsubscribe=("x",))
    clusters.hears({}, ("x",))
    clusters.hears_nothing()


def test_a_client_that_comes_back_gets_what_changed_while_it_was_away(clusters: Talk) -> None:
    clusters.say("*", initial={"a": "1", "b": "old", "gone": "1"})
    clusters.hears({"b": "1"}, ("gone",))
    clusters.hears_nothing()


def test_a_client_that_comes_back_with_everything_is_told_that_there_is_nothing_new(clusters: Talk) -> None:
    clusters.say("*", initial={"a": "1", "b": "1"})
    clusters.hears({})
    clusters.hears_nothing()


def test_names_come_back_without_being_sent_again(endpoints: Talk) -> None:
    endpoints.say("a", "b", initial={"a": "1", "b": "old", "not-subscribed": "1"})
    endpoints.hears({"b": "1"})
    endpoints.hears_nothing()


def test_changes_while_a_response_is_open_are_sent_together_afterwards(clusters: Talk) -> None:
    clusters.say()
    first = clusters.hear()
    assert first is not None
    for version in ("2", "3", "4"):
        clusters.versions["a"] = version
        assert clusters.hear() is None
    clusters.say(nonce=first.nonce)
    clusters.hears({"a": "4"})


def test_a_stale_nonce_judges_nothing_but_its_subscriptions_hold(endpoints: Talk) -> None:
    endpoints.say("a")
    first = endpoints.hear()
    assert first is not None
    endpoints.say("b", nonce="n-unknown", error="not about anything that was sent")
    assert not endpoints.subscription.rejected
    endpoints.say(nonce=first.nonce)
    endpoints.hears({"b": "1"})


def test_a_response_that_is_not_answered_is_superseded_and_a_late_rejection_still_counts(
    endpoints: Talk,
) -> None:
    subscription = endpoints.subscription
    endpoints.say("a")
    first = subscription.next(endpoints.versions, "n1", 0.0, removals=True)
    assert first is not None
    assert subscription.waiting(4.9, patience=5.0)
    assert not subscription.waiting(5.0, patience=5.0)
    endpoints.versions["a"] = "2"
    assert subscription.next(dict(endpoints.versions), "n2", 5.0, removals=True) is not None
    endpoints.say(nonce="n1", error="late")
    assert not subscription.rejections(endpoints.versions), "version 1 is no longer wanted"
    endpoints.say(nonce="n2")
    endpoints.hears_nothing()


def test_a_rejected_version_is_not_sent_again_and_the_last_good_one_is_known(clusters: Talk) -> None:
    clusters.say()
    clusters.hears({"a": "1", "b": "1"})
    clusters.versions["a"] = "bad"
    response = clusters.hear()
    assert response is not None
    clusters.say(nonce=response.nonce, error="no such load balancer")
    clusters.hears_nothing()
    (rejection,) = clusters.subscription.rejections(clusters.versions)
    assert (rejection.name, rejection.version, rejection.good) == ("a", "bad", "1")
    assert rejection.reason == "no such load balancer"
    clusters.versions["a"] = "3"
    clusters.hears({"a": "3"})
    assert not clusters.subscription.rejected


def test_going_back_to_the_last_good_version_sends_nothing_and_ends_the_rejection(clusters: Talk) -> None:
    clusters.say()
    clusters.hears({"a": "1", "b": "1"})
    clusters.versions["a"] = "bad"
    response = clusters.hear()
    assert response is not None
    clusters.say(nonce=response.nonce, error="no")
    clusters.versions["a"] = "1"
    clusters.hears_nothing()
    assert not clusters.subscription.rejections(clusters.versions)


@pytest.mark.parametrize(
    "words", ["Error adding/updating cluster(s) c: bad ttl", "something is wrong somewhere"]
)
def test_the_valid_resources_of_a_rejected_response_go_out_without_the_culprit(words: str) -> None:
    talk = Talk()
    talk.versions = dict.fromkeys("abcdefg", "1")
    talk.say()
    accepted: dict[str, str] = {}
    for _ in range(20):
        response = talk.hear()
        if response is None:
            break
        if "c" in response.resources:
            talk.say(nonce=response.nonce, error=words)
        else:
            accepted |= response.resources
            talk.say(nonce=response.nonce)
    assert accepted == dict.fromkeys("abdefg", "1")
    (rejection,) = talk.subscription.rejections(talk.versions)
    assert (rejection.name, rejection.reason) == ("c", words)
    assert talk.subscription.synced(talk.versions)


def test_a_removal_in_a_rejected_response_is_tried_alone_and_given_up_when_refused_alone(
    clusters: Talk,
) -> None:
    clusters.say()
    clusters.hears({"a": "1", "b": "1"})
    clusters.versions = {"a": "bad"}
    both = clusters.hear()
    assert both is not None
    assert (dict(both.resources), both.removed) == ({"a": "bad"}, ("b",))
    clusters.say(nonce=both.nonce, error="no")
    for _ in range(2):
        alone = clusters.hear()
        assert alone is not None
        clusters.say(nonce=alone.nonce, error="still no")
    clusters.hears_nothing()
    assert {r.name for r in clusters.subscription.rejections(clusters.versions)} == {"a", ""}


def test_removals_can_be_put_off(clusters: Talk) -> None:
    clusters.say()
    clusters.hears({"a": "1", "b": "1"})
    clusters.versions = {"a": "2"}
    response = clusters.hear(removals=False)
    assert response is not None
    assert (dict(response.resources), response.removed) == ({"a": "2"}, ())
    clusters.say(nonce=response.nonce)
    assert clusters.hear(removals=False) is None
    assert not clusters.subscription.synced(clusters.versions)
    clusters.hears({}, ("b",))


@pytest.mark.parametrize(
    "words, found",
    [
        ("Error adding/updating listener(s) 127.0.0.1_80: no filter", ["127.0.0.1_80"]),
        ("127.0.0.1_8080: no filter", []),
        ("outbound|80||a.b.svc: bad", ["outbound|80||a.b.svc"]),
        ("outbound|80||a.b.svc.cluster.local: bad", []),
        ("it was outbound|80||a.b.svc.", ["outbound|80||a.b.svc"]),
    ],
)
def test_a_name_is_found_in_a_reason_only_as_a_whole(words: str, found: list[str]) -> None:
    assert mentioned(["127.0.0.1_80", "outbound|80||a.b.svc"], words) == found

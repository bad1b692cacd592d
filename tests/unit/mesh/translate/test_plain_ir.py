"""Records of what proxies are to do: nothing that decides something is left out, nothing else is there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from golden.views import forward, origin, outbound, route
from support.plain_ir import plain

from mesh.ir.cluster import ConnectionPool
from mesh.ir.route import Destination, Forward, Redirect, RouteMatch
from mesh.ir.values import Locality, MatchKind, StringMatcher


def test_what_holds_its_default_is_not_there() -> None:
    assert plain(Destination(cluster="a")) == {"cluster": "a"}
    assert plain(Destination(cluster="a", weight=0)) == {"cluster": "a", "weight": 0}


def test_fields_keep_the_order_in_which_they_are_declared() -> None:
    assert list(plain(route())) == ["name", "match", "action", "origin"]


def test_origins_and_localities_say_themselves() -> None:
    assert plain(origin()) == "mesh.yaml:1 VirtualService causeway/session spec"
    assert plain(Locality("us-west-2", "us-west-2a")) == "us-west-2/us-west-2a"


def test_values_are_as_yaml_has_them() -> None:
    assert plain(StringMatcher(MatchKind.PREFIX, "/a")) == {"kind": "PREFIX", "text": "/a"}
    assert plain(timedelta(milliseconds=1500)) == "1.5s"
    assert plain({"b": (1, None), "a": b"\xff"}) == {"a": "\\xff", "b": [1, None]}


def test_of_several_kinds_the_name_is_told() -> None:
    assert plain(route(action=forward("a")))["action"] == {"Forward": {"destinations": [{"cluster": "a"}]}}
    assert plain(route(action=Redirect(port=1)))["action"] == {"Redirect": {"port": 1}}
    assert list(plain(outbound())["chains"][0]["content"]) == ["HttpChain"]
    assert "pool" not in plain(Forward(destinations=())), "one kind or None is no choice"


def test_nothing_unknown_is_recorded_by_chance() -> None:
    with pytest.raises(TypeError, match="object has no plain form"):
        plain({"a": object()})
    assert plain(RouteMatch()) == {}
    assert plain(ConnectionPool(connect_timeout=timedelta(seconds=1)))["connect_timeout"] == "1s"

"""Which filter chain takes a connection."""

from __future__ import annotations

from typing import Any

import pytest
from support.envoy_config import listener, message

from mesh.simulate import chains
from mesh.simulate.request import Connection, Offer
from mesh.xds.resources import LISTENER


def choose(matches: dict[str, dict[str, Any]], connection: Connection, **more: Any) -> str | None:
    """Name of the chain that is chosen among chains with these criteria."""
    made = [{"name": name, "filter_chain_match": match} for name, match in matches.items()]
    found = chains.choose(message(LISTENER, listener("l", "127.0.0.1", 443, made, **more)), connection)
    return None if found is None else str(found.chain.name)


@pytest.mark.parametrize(
    "name, chain",
    [
        ("a.example.com", "exact"),
        ("A.EXAMPLE.com", "exact"),
        ("b.example.com", "wildcard"),
        ("c.b.example.com", "longer wildcard"),
        ("example.com", "any"),
        ("", "any"),
    ],
)
def test_the_most_specific_server_name_wins(name: str, chain: str) -> None:
    matches: dict[str, dict[str, Any]] = {
        "any": {},
        "wildcard": {"server_names": ["*.example.com"]},
        "longer wildcard": {"server_names": ["*.b.example.com"]},
        "exact": {"server_names": ["a.example.com"]},
    }
    assert choose(matches, Connection(address="127.0.0.1", port=443, tls=Offer(sni=name))) == chain


def test_permissive_tells_tls_from_plaintext() -> None:
    matches = {"tls": {"transport_protocol": "tls"}, "plain": {"transport_protocol": "raw_buffer"}}
    assert choose(matches, Connection(tls=Offer())) == "tls"
    assert choose(matches, Connection()) == "plain"


def test_strict_has_no_chain_for_plaintext() -> None:
    assert choose({"tls": {"transport_protocol": "tls"}}, Connection()) is None


def test_a_listener_that_does_not_look_takes_tls_for_plaintext() -> None:
    matches = {"tls": {"transport_protocol": "tls"}, "plain": {"transport_protocol": "raw_buffer"}}
    assert choose(matches, Connection(tls=Offer(sni="a")), listener_filters=[]) == "plain"


def test_the_most_wanted_application_protocol_decides() -> None:
    matches = {
        "h2": {"application_protocols": ["h2"]},
        "h1": {"application_protocols": ["http/1.1"]},
        "any": {},
    }
    assert choose(matches, Connection(tls=Offer(protocols=("http/1.1", "h2")))) == "h1"
    assert choose(matches, Connection(tls=Offer(protocols=("istio",)))) == "any"


def test_the_longest_prefix_wins_and_is_never_taken_back() -> None:
    matches: dict[str, dict[str, Any]] = {
        "wide": {"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},
        "narrow": {
            "prefix_ranges": [{"address_prefix": "10.1.0.0", "prefix_len": 16}],
            "transport_protocol": "tls",
        },
        "any": {},
    }
    assert choose(matches, Connection(address="10.2.0.1")) == "wide"
    assert choose(matches, Connection(address="11.0.0.1")) == "any"
    # The narrow range has decided, although its chain then wants TLS.
    assert choose(matches, Connection(address="10.1.0.1")) is None


def test_the_default_takes_what_no_other_does() -> None:
    default = {"default_filter_chain": {"name": "default"}}
    assert choose({"tls": {"transport_protocol": "tls"}}, Connection(), **default) == "default"


def test_an_exact_address_is_preferred_to_a_wildcard() -> None:
    listeners = {
        "any": message(LISTENER, listener("any", chains.ANY[0], 80, [])),
        "own": message(LISTENER, listener("own", "127.0.0.1", 80, [])),
    }
    found = chains.listener_at(listeners, "127.0.0.1", 80)
    other = chains.listener_at(listeners, "127.0.0.2", 80)
    assert found is not None
    assert found.name == "own"
    assert other is not None
    assert other.name == "any"
    assert chains.listener_at(listeners, "127.0.0.1", 81) is None

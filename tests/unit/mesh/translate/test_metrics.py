"""Istio's metrics as access loggers."""

from __future__ import annotations

from typing import Any

import pytest
from golden.views import origin
from google.protobuf.json_format import MessageToDict

from mesh.ir.listener import Direction, TcpChain, TcpDestination
from mesh.ir.metrics import Metric, MetricKind, Metrics, Party
from mesh.ir.telemetry import AccessLog, Telemetry
from mesh.translate.filters import network_filters
from mesh.translate.metrics import http_loggers, tcp_loggers
from mesh.xds.protos import tcp_proxy_pb2, typed_struct_pb2

ISTIOS = {
    "reporter",
    "request_protocol",
    "connection_security_policy",
    "response_flags",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    *(
        f"{side}_{name}"
        for side in ("source", "destination")
        for name in (
            "workload",
            "workload_namespace",
            "principal",
            "app",
            "version",
            "cluster",
            "canonical_service",
            "canonical_revision",
        )
    ),
}
"""The labels of all metrics (https://istio.io/latest/docs/reference/config/metrics/#labels)."""
OF_REQUESTS = {"response_code", "grpc_response_status"}


def metrics(*kinds: MetricKind, **tags: str | None) -> Metrics:
    own = Party(
        workload="gateway-us-west-2",
        namespace="causeway",
        app="gateway",
        version="",
        service="gateway",
        revision="latest",
        cluster="us-west-2",
    )
    wanted = kinds or tuple(MetricKind)
    kept = tuple(Metric(kind=kind, tags=tuple(sorted(tags.items()))) for kind in wanted)
    return Metrics(provider="prometheus", metrics=kept, own=own, origin=origin())


def stats(loggers: list[Any]) -> list[dict[str, Any]]:
    """The counters and histograms of all loggers, with their labels as a mapping."""
    found = []
    for logger in loggers:
        config = typed_struct_pb2.TypedStruct()
        if logger.typed_config.Unpack(config):
            value = MessageToDict(config.value)
            for stat in (*value["counters"], *value["histograms"]):
                labels = {tag["name"]: tag["value_format"] for tag in stat["stat"]["tags"]}
                assert len(labels) == len(stat["stat"]["tags"]), "a label is there once"
                found.append({**stat, "name": stat["stat"]["name"], "labels": labels})
    return found


def requests(wanted: Metrics | None, direction: Direction = Direction.OUTBOUND) -> list[dict[str, Any]]:
    return stats(http_loggers(wanted, direction, secured=True))


def connections(wanted: Metrics | None, direction: Direction = Direction.OUTBOUND) -> list[dict[str, Any]]:
    return stats(tcp_loggers(wanted, direction, secured=True))


def test_nothing_is_there_that_was_not_asked_for() -> None:
    assert http_loggers(None, Direction.INBOUND, secured=True) == []
    assert tcp_loggers(None, Direction.INBOUND, secured=True) == []
    only_requests = metrics(MetricKind.REQUEST_COUNT)
    assert tcp_loggers(only_requests, Direction.INBOUND, secured=True) == []
    assert {one["name"] for one in requests(only_requests)} == {"istio_requests_total"}


@pytest.mark.parametrize("direction", Direction)
def test_every_metric_has_istios_labels_each_with_a_value(direction: Direction) -> None:
    by_name: dict[str, list[set[str]]] = {}
    for one in (*requests(metrics(), direction), *connections(metrics(), direction)):
        by_name.setdefault(one["name"], []).append(set(one["labels"]))
        assert all(one["labels"].values())
    assert set(by_name) == {kind.value for kind in MetricKind}
    for name, labels in by_name.items():
        expected = ISTIOS if "_tcp_" in name else ISTIOS | OF_REQUESTS
        assert labels == [expected] * len(labels), name


@pytest.mark.parametrize(
    "direction, reporter, us",
    [
        (Direction.INBOUND, "destination", "destination"),
        (Direction.OUTBOUND, "source", "source"),
        (Direction.GATEWAY, "source", "source"),
    ],
)
def test_a_proxy_is_the_side_that_its_listener_is_on(direction: Direction, reporter: str, us: str) -> None:
    for one in requests(metrics(), direction):
        labels = one["labels"]
        assert labels["reporter"] == reporter
        assert (labels[f"{us}_app"], labels[f"{us}_version"]) == ("gateway", "unknown")
        assert labels[f"{us}_workload"] == "gateway-us-west-2"


def test_without_tls_nobody_is_known_and_that_is_said() -> None:
    for one in stats(http_loggers(metrics(), Direction.INBOUND, secured=False)):
        labels = one["labels"]
        assert labels["connection_security_policy"] == "none"
        assert labels["source_principal"] == labels["destination_principal"] == "unknown"
        assert labels["source_workload_namespace"] == "unknown"


def test_labels_are_added_changed_and_taken_away() -> None:
    changed = metrics(MetricKind.REQUEST_COUNT, app="request.host", reporter=None, source_app="'x'")
    for one in requests(changed):
        labels = one["labels"]
        assert labels["app"] == "%CEL(request.host)%"
        assert labels["source_app"] == "%CEL('x')%"
        assert "reporter" not in labels


def test_each_request_is_counted_by_one_logger() -> None:
    """By protocol, and outbound by whether the other side proved an identity: filters that cannot both
    hold."""
    inbound, outbound = (
        [
            MessageToDict(one.filter)
            for one in http_loggers(metrics(), direction, secured=True)
            if one.name == "envoy.access_loggers.stats"
        ]
        for direction in (Direction.INBOUND, Direction.OUTBOUND)
    )
    grpc, other = inbound
    header = grpc["headerFilter"]["header"]
    inverted = {**header, "invertMatch": True, "treatMissingHeaderAsEmpty": True}
    assert other == {"headerFilter": {"header": inverted}}
    mutual = [one["andFilter"]["filters"] for one in outbound[:2]]
    assert [filters[0] for filters in mutual] == inbound
    assert mutual[0][1] == mutual[1][1]
    has = mutual[0][1]["extensionFilter"]["typedConfig"]["expression"]
    assert outbound[2]["extensionFilter"]["typedConfig"]["expression"] == f"!{has}"


def test_logs_of_connections_have_no_line_more_because_opening_is_counted() -> None:
    content = TcpChain(destinations=(TcpDestination(cluster="c"),), stats_prefix="test")
    log = AccessLog(provider="log", filter="response.code == 0", origin=origin())

    def proxy(wanted: Metrics | None) -> Any:
        told = Telemetry(access_logs=(log,), metrics=wanted)
        made = tcp_proxy_pb2.TcpProxy()
        (filter_,) = network_filters(content, Direction.OUTBOUND, told, secured=False)
        assert filter_.typed_config.Unpack(made)
        return made

    counted, plain = proxy(metrics()), proxy(metrics(MetricKind.TCP_CLOSED_CONNECTIONS))
    assert counted.access_log_options.flush_access_log_on_connected
    filters = MessageToDict(counted.access_log[0].filter)["andFilter"]["filters"]
    assert filters[0] == {"logTypeFilter": {"types": ["TcpConnectionEnd"]}}
    assert filters[1] == MessageToDict(plain.access_log[0].filter)
    assert not plain.access_log_options.flush_access_log_on_connected

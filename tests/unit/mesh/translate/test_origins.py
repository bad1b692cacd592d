"""What decided a part can be looked up, and is no part of what is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from golden.views import (
    OUTBOUND,
    SESSION,
    cluster,
    group,
    host,
    inbound,
    origin,
    outbound,
    route,
    table,
    view,
)

from mesh.ir.cluster import OutlierDetection
from mesh.ir.origin import Origin
from mesh.ir.route import Destination, Forward, Retries
from mesh.ir.security import Effect, JwtIssuer, Policy, Rule, Security
from mesh.translate import translate
from mesh.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES


def _at(line: int) -> Origin:
    return Origin("mesh.yaml", line, "VirtualService", "causeway", "x")


def test_hosts_routes_and_policies_are_cited() -> None:
    retries = Retries(attempts=1, origin=_at(12))
    routes = [
        route("a", origin=_at(10)),
        route("b", origin=_at(11), action=Forward(destinations=(Destination(cluster="c"),), retries=retries)),
    ]
    security = Security(
        issuers=(JwtIssuer(issuer="https://issuer", origin=_at(20)),),
        policies=(
            Policy(
                name="causeway/p",
                effect=Effect.ALLOW,
                rules=(Rule((), (), (), _at(21)), Rule((), (), (), _at(22))),
                origin=_at(19),
            ),
        ),
        authorizers={},
    )
    known = cluster(
        groups=(group(host(1, origin=_at(30)), host(2, origin=_at(31))),),
        outlier=OutlierDetection(origin=_at(33)),
    )
    given = view(
        clusters=(view().clusters[0], known),
        route_tables=(table(routes=routes), view().route_tables[1]),
        listeners=(outbound(), inbound(security)),
    )
    found = translate(given)

    def line(*path: str) -> int:
        cited = found.origin(*path)
        assert cited is not None
        return cited.line

    assert line(ENDPOINTS, OUTBOUND, "127.66.1.2:9443") == 31
    assert line(CLUSTER, OUTBOUND, "outlier_detection") == 33
    assert line(ROUTES, "8080", f"{SESSION}:8080", "1") == 11
    assert line(ROUTES, "8080", f"{SESSION}:8080", "1", "retries") == 12
    chain = (LISTENER, "127.66.1.1_9443", "inbound")
    assert line(*chain, "envoy.filters.http.rbac", "ns[causeway]-policy[p]-rule[1]") == 22
    assert line(*chain, "envoy.filters.http.jwt_authn", "https://issuer") == 20


def test_lines_that_move_change_no_message() -> None:
    def bytes_of(line: int) -> list[bytes]:
        moved: Any = {"origin": origin(line=line)}
        given = replace(
            view(),
            clusters=(view().clusters[0], cluster(groups=(group(host(1, **moved)),), **moved)),
            listeners=(outbound(**moved), inbound(**moved)),
        )
        return [
            message.SerializeToString(deterministic=True)
            for messages in translate(given).by_type.values()
            for message in messages.values()
        ]

    assert bytes_of(1) == bytes_of(99)

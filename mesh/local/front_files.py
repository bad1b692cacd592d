"""The front: what stands here for a cloud's global load balancer, in Istio's words. Pure.

One address for people. It ends their TLS, and passes each request on to the ingress of a region: any that is
well, whatever region it stands in, for it stands in none. A request whose answer has not begun when a region
dies is given to another region; that may happen twice to a call that is idempotent (as its proto says), and
to others only when it is certain that nobody has begun on it. What a cloud's load balancer does by its own
health checks, the front does by the ingress's `/healthz`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.local.workloads import FRONT_NAMESPACE, INGRESS_NAMESPACE, service_host
from mesh.local.yaml_writer import Plain

Document = Mapping[str, Plain]

PORT = 8443
"""Of an ingress: for load balancers that prove who they are."""

CONNECTION_AGE = "600s"
"""After which a connection to an ingress is replaced, so that one that came back is found."""
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

SAFE = "connect-failure,refused-stream,reset-before-request"
"""Nobody has begun on the call."""
UNDECIDED = "x-causeway-undecided"
"""Marks an ingress's answer when nobody could say whether the call may pass: the policy service was silent,
or the ingress itself stood still for longer than it waits (istio/base/ingress-filters.yaml). Then another
region may be asked, whatever the call is."""
REPEATABLE = f"{SAFE},reset"
"""Somebody may have; for calls that may be made twice. Not `unavailable`: an ingress that says so has tried
all regions already."""
ONCE, REPEATED = "once", "repeatable"
"""Names of the routes."""

ANSWERS = "answers"
"""Regions take turns. Answers have turns of their own: with one for all calls, a steady rhythm of the others
could leave one region with every answer, or with none, until they end."""

NOT_REPEATABLE = (
    "/causeway.gateway.v1.ChatService/Chat",
    "/causeway.gateway.v1.ChatService/Complete",
)
"""Calls that a proxy must not make twice: an answer costs, and half of one may have been read. The gateway
and its clients go on with them by themselves."""


def manifests(hosts: list[str], credential: str) -> list[Document]:
    """Gateway, routes and rules of the front, for requests to `hosts`."""
    ingress = service_host("ingress", INGRESS_NAMESPACE)
    return [
        _manifest("Gateway", "front", _gateway(hosts, credential)),
        _manifest("VirtualService", "front", _routes(hosts, ingress)),
        _manifest("DestinationRule", "front", _rule(ingress, hosts[0])),
        _filter("front", [_health_checks(ingress, hosts[0])]),
        _filter("undecided", [_undecided(ONCE, SAFE), _undecided(REPEATED, REPEATABLE)]),
    ]


def _manifest(kind: str, name: str, spec: Document, api: str = "networking.istio.io/v1") -> Document:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": FRONT_NAMESPACE},
        "spec": spec,
    }


def _filter(name: str, patches: list[Plain]) -> Document:
    spec: Document = {
        "workloadSelector": {"labels": {"istio": "front"}},
        "priority": 10,
        "configPatches": patches,
    }
    return _manifest("EnvoyFilter", name, spec, api="networking.istio.io/v1alpha3")


def _gateway(hosts: list[str], credential: str) -> Document:
    server: Document = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "hosts": hosts,
        "tls": {"mode": "SIMPLE", "credentialName": credential, "minProtocolVersion": "TLSV1_2"},
    }
    return {"selector": {"istio": "front"}, "servers": [server]}


def _routes(hosts: list[str], ingress: str) -> Document:
    destination: Document = {"host": ingress, "port": {"number": PORT}}
    once: Document = {
        "name": ONCE,
        "match": [{"uri": {"exact": method}} for method in NOT_REPEATABLE],
        "route": [{"destination": {**destination, "subset": ANSWERS}}],
        "retries": {"attempts": 2, "retryOn": SAFE},
    }
    rest: Document = {
        "name": REPEATED,
        "route": [{"destination": destination}],
        "retries": {"attempts": 2, "retryOn": REPEATABLE},
    }
    return {"hosts": hosts, "gateways": ["front"], "http": [once, rest]}


def _rule(ingress: str, host: str) -> Document:
    return {
        "host": ingress,
        "trafficPolicy": {
            # The ingress chooses its server by this name, as for callers from outside.
            "tls": {"mode": "ISTIO_MUTUAL", "sni": host},
            "connectionPool": {
                "tcp": {"connectTimeout": "0.5s", "maxConnectionDuration": CONNECTION_AGE},
                "http": {"http2MaxRequests": 10000, "maxRetries": 1000},
            },
            "loadBalancer": {"simple": "LEAST_REQUEST"},
            "outlierDetection": {
                "consecutiveGatewayErrors": 1,
                "consecutive5xxErrors": 5,
                "interval": "1s",
                "baseEjectionTime": "5s",
                "maxEjectionPercent": 100,
                # With no ingress well, those left out are asked all the same: one error leaves one out.
                "minHealthPercent": 1,
            },
        },
        # All ingresses, a second time.
        "subsets": [{"name": ANSWERS}],
    }


def _health_checks(ingress: str, host: str) -> Document:
    """Asks each ingress itself: one that is stopped and not dead refuses nothing."""
    check: Document = {
        "interval": "0.5s",
        "timeout": "0.4s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        # Before the first call. An ingress that comes up is found soon, one that is up is asked seldom.
        "no_traffic_interval": "0.5s",
        "no_traffic_healthy_interval": "2s",
        "http_health_check": {"path": "/healthz", "host": host, "codec_client_type": "HTTP2"},
    }
    # What is merged into a map replaces the entry, as under Istio: the age of a connection is said again.
    protocol: Document = {
        "@type": f"type.googleapis.com/{_PROTOCOL}",
        "common_http_protocol_options": {"max_connection_duration": CONNECTION_AGE},
        "explicit_http_config": {
            "http2_protocol_options": {
                # A stream that is open when its region stops hears nothing more, and no check of health ends
                # it: this does, and its caller takes it up elsewhere.
                "connection_keepalive": {"interval": "0.5s", "timeout": "1s"}
            }
        },
    }
    value: Document = {
        "typed_extension_protocol_options": {_PROTOCOL: protocol},
        "ignore_health_on_host_removal": True,
        "outlier_detection": {"max_ejection_time": "15s"},
        "health_checks": [check],
    }
    return {
        "applyTo": "CLUSTER",
        "match": {"context": "GATEWAY", "cluster": {"service": ingress, "portNumber": PORT}},
        "patch": {"operation": "MERGE", "value": value},
    }


def _undecided(route: str, retried: str) -> Document:
    """Beside what a route retries already: Istio has no field for the header."""
    value: Document = {
        "route": {
            "retry_policy": {
                "retry_on": f"{retried},retriable-headers",
                "retriable_headers": [{"name": UNDECIDED, "present_match": True}],
            }
        }
    }
    return {
        "applyTo": "HTTP_ROUTE",
        "match": {"context": "GATEWAY", "routeConfiguration": {"vhost": {"route": {"name": route}}}},
        "patch": {"operation": "MERGE", "value": value},
    }

"""What Istio's webhook refuses in VirtualService, DestinationRule, Gateway, Sidecar, services and EnvoyFilter."""

# ruff: noqa: E501  # one case a line
from __future__ import annotations

import pytest
from support.manifests import wrong_with

ROUTE = "route: [{destination: {host: a}}]"


def http(rule: str) -> list[str]:
    """What is wrong with one HTTP route."""
    return wrong_with("VirtualService", f"hosts: [a]\nhttp: [{{{rule}}}]")


@pytest.mark.parametrize(
    "rule,path,message",
    [
        ("match: [{port: 80}]", "", "must have one of route, redirect, directResponse"),
        (f"redirect: {{uri: /a}}, {ROUTE}", ".redirect", "must not stand beside route"),
        (f"directResponse: {{status: 200}}, {ROUTE}", ".directResponse", "must not stand beside route"),
        ("redirect: {uri: /a}, fault: {delay: {fixedDelay: 1s}}", ".fault", "must not stand beside redirect"),
        ("redirect: {uri: /a}, rewrite: {uri: /b}", ".rewrite", "must not stand beside redirect"),
        ("redirect: {}", ".redirect", "must change the uri"),
        ("redirect: {uri: /a, redirectCode: 404}", ".redirect.redirectCode", "must be 301, 302"),
        ("redirect: {scheme: ftp}", ".redirect.scheme", "must be http or https"),
        ("redirect: {port: 0}", ".redirect.port", "must be from 1 to 65535"),
        (
            "redirect: {port: 1, derivePort: FROM_REQUEST_PORT}",
            ".redirect.derivePort",
            "only one of port, derivePort",
        ),
        ("directResponse: {body: {string: a}}", ".directResponse.status", "is missing"),
        ("directResponse: {status: 99}", ".directResponse.status", "must be from 200 to 599"),
        ("directResponse: {status: 200, body: {}}", ".directResponse.body", "must have one of string, bytes"),
        ("directResponse: {status: 200, body: {bytes: '%'}}", ".directResponse.body.bytes", "must be base64"),
        (f"{ROUTE}, timeout: 0s", ".timeout", "must be at least 1ms"),
        (f"{ROUTE}, timeout: 1500us", ".timeout", "must be in whole milliseconds"),
        (f"{ROUTE}, retries: {{attempts: -1}}", ".retries.attempts", "must not be negative"),
        (
            f"{ROUTE}, retries: {{attempts: 0, retryOn: 5xx}}",
            ".retries.retryOn",
            "means nothing while attempts is 0",
        ),
        (
            f"{ROUTE}, retries: {{perTryTimeout: 1s}}",
            ".retries.perTryTimeout",
            "means nothing while attempts is 0",
        ),
        (
            f"{ROUTE}, retries: {{attempts: 1, retryOn: '5xx,unavailble'}}",
            ".retries.retryOn",
            "`unavailble` is neither",
        ),
        (
            f"{ROUTE}, retries: {{attempts: 1, retryOn: '5xx, reset'}}",
            ".retries.retryOn",
            "` reset` is neither",
        ),
        (f"{ROUTE}, fault: {{}}", ".fault", "must have one of abort, delay"),
        (f"{ROUTE}, fault: {{delay: {{}}}}", ".fault.delay.fixedDelay", "is missing"),
        (f"{ROUTE}, fault: {{abort: {{}}}}", ".fault.abort", "must have one of httpStatus, grpcStatus"),
        (
            f"{ROUTE}, fault: {{abort: {{httpStatus: 42}}}}",
            ".fault.abort.httpStatus",
            "must be from 200 to 599",
        ),
        (
            f"{ROUTE}, fault: {{abort: {{grpcStatus: GONE}}}}",
            ".fault.abort.grpcStatus",
            "`GONE` is not a status of gRPC",
        ),
        (
            f"{ROUTE}, fault: {{abort: {{httpStatus: 500, grpcStatus: OK}}}}",
            ".fault.abort.grpcStatus",
            "only one of",
        ),
        (
            f"{ROUTE}, fault: {{abort: {{httpStatus: 500, percentage: {{value: 101}}}}}}",
            ".fault.abort.percentage.value",
            "must be 0, or from 0.0001 to 100, not 101",
        ),
        (
            f"{ROUTE}, mirror: {{host: b}}, mirrors: [{{destination: {{host: c}}}}]",
            ".mirrors",
            "only one of mirror",
        ),
        (f"{ROUTE}, mirrorPercentage: {{value: 5}}", ".mirrorPercentage", "means nothing without mirror"),
        (f"{ROUTE}, mirrors: [{{}}]", ".mirrors[0].destination", "is missing"),
        (f"{ROUTE}, rewrite: {{}}", ".rewrite", "must have one of uri, uriRegexRewrite, authority"),
        (
            f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: a}}}}",
            ".rewrite.uriRegexRewrite.rewrite",
            "is missing",
        ),
        (
            f"{ROUTE}, rewrite: {{authority: b}}, headers: {{request: {{set: {{Host: c}}}}}}",
            ".headers",
            "the authority is changed more than once",
        ),
        (
            f"{ROUTE}, headers: {{request: {{set: {{':path': /}}}}}}",
            ".headers.request.set.:path",
            "cannot be changed",
        ),
        (
            f"{ROUTE}, headers: {{response: {{remove: [Host]}}}}",
            ".headers.response.remove[0]",
            "cannot be changed here",
        ),
        (
            f"{ROUTE}, headers: {{request: {{add: {{'a b': c}}}}}}",
            ".headers.request.add.a b",
            "is not the name",
        ),
        (
            f"{ROUTE}, headers: {{request: {{add: {{a: 'x%y'}}}}}}",
            ".headers.request.add.a",
            "begins no command",
        ),
        (
            f"{ROUTE}, corsPolicy: {{allowOrigins: [{{}}]}}",
            ".corsPolicy.allowOrigins[0]",
            "must have one of exact",
        ),
        (
            f"{ROUTE}, corsPolicy: {{allowMethods: [FETCH]}}",
            ".corsPolicy.allowMethods[0]",
            "`FETCH` is not a method",
        ),
        (f"{ROUTE}, corsPolicy: {{maxAge: 1500ms}}", ".corsPolicy.maxAge", "must be in whole seconds"),
        (
            f"{ROUTE}, match: [{{uri: {{prefix: /a, exact: /b}}}}]",
            ".match[0].uri.exact",
            "only one of exact, prefix, regex",
        ),
        (
            f"{ROUTE}, match: [{{uri: {{prefix: ''}}}}]",
            ".match[0].uri.prefix",
            "is empty and so matches everything",
        ),
        (f"{ROUTE}, match: [{{uri: {{regex: '('}}}}]", ".match[0].uri.regex", "`(` is not a pattern"),
        (
            f"{ROUTE}, match: [{{uri: {{regex: 'a(?=b)'}}}}]",
            ".match[0].uri.regex",
            "uses `(?=`, which RE2 does not have",
        ),
        (f"{ROUTE}, match: [{{uri: {{regex: '(a)\\1'}}}}]", ".match[0].uri.regex", "which RE2 does not have"),
        (
            f"{ROUTE}, match: [{{headers: {{'@request.auth.claims.a': {{exact: b}}}}}}]",
            ".match[0].headers",
            "only gateways route by the claims of a token",
        ),
        (f"{ROUTE}, match: [{{port: 65536}}]", ".match[0].port", "must be from 1 to 65535"),
        (
            f"{ROUTE}, match: [{{gateways: [a/b/c]}}]",
            ".match[0].gateways[0]",
            "is not of the form namespace/name",
        ),
        (
            f"{ROUTE}, match: [{{sourceLabels: {{a: b c}}}}]",
            ".match[0].sourceLabels.a",
            "is not the value of a label",
        ),
        (
            f"{ROUTE}, match: [{{sourceNamespace: a.b}}]",
            ".match[0].sourceNamespace",
            "is not the name of a namespace",
        ),
        ("route: [{weight: 1}]", ".route[0].destination", "is missing"),
        ("route: [{destination: {host: '*'}}]", ".route[0].destination.host", "must name a service"),
        ("route: [{destination: {subset: a}}]", ".route[0].destination.host", "is missing"),
        (
            "route: [{destination: {host: a, subset: 'a.b'}}]",
            ".route[0].destination.subset",
            "is not the name of a subset",
        ),
        ("route: [{destination: {host: a, port: {}}}]", ".route[0].destination.port.number", "is missing"),
        ("route: [{destination: {host: a}, weight: -1}]", ".route[0].weight", "must not be negative"),
        ("route: [{destination: {host: a}}, {destination: {host: b}}]", ".route", "the weights add up to 0"),
    ],
)
def test_a_wrong_http_route_is_refused(rule: str, path: str, message: str) -> None:
    found = http(rule)
    assert any(error.startswith(f"http[0]{path}") and message in error for error in found), found
    assert len(found) <= 2, found


@pytest.mark.parametrize(
    "name",
    ["@request.auth.claims", "@request.auth.claims.", "@request.auth.claims[a", "@request.auth.claims.a..b"],
)
def test_a_gateways_route_names_a_claim_by_its_path(name: str) -> None:
    rule = f"match: [{{headers: {{'{name}': {{exact: b}}}}}}], {ROUTE}"
    (problem,) = wrong_with("VirtualService", f"hosts: [a]\ngateways: [edge]\nhttp: [{{{rule}}}]")
    assert "is neither @request.auth.claims.group.id nor @request.auth.claims[group][id]" in problem
    right = rule.replace(name, "@request.auth.claims[a.b][c]")
    assert wrong_with("VirtualService", f"hosts: [a]\ngateways: [edge]\nhttp: [{{{right}}}]") == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d+",
        "(?i)abc",
        "a(?i:b)c",
        r"\p{Greek}+",
        "[[:alpha:]]*",
        r"\Qa.b\E",
        r"a\z",
        "(?P<n>a)",
        "(?<n>a)",
        ".*",
    ],
)
def test_what_re2_has_and_python_has_not_is_a_pattern(pattern: str) -> None:
    assert http(f"{ROUTE}, match: [{{uri: {{regex: '{pattern}'}}}}]") == []


@pytest.mark.parametrize("pattern", ["a" * 1025, "[a", "a{1001}", "a**", r"(?<!a)b", "a++", "(?>a)", "*a"])
def test_what_re2_has_not_is_no_pattern(pattern: str) -> None:
    (error,) = http(f"{ROUTE}, match: [{{uri: {{regex: '{pattern}'}}}}]")
    assert error.startswith("http[0].match[0].uri.regex: ")


@pytest.mark.parametrize(
    "kind,spec,path,message",
    [
        ("VirtualService", f"http: [{{{ROUTE}}}]", "hosts", "must name at least one host"),
        ("VirtualService", "hosts: [a]", "", "must have http, tls or tcp routes"),
        ("VirtualService", f"hosts: ['*']\nhttp: [{{{ROUTE}}}]", "hosts[0]", "`*` is not allowed for the gateway mesh"),
        ("VirtualService", f"hosts: [a_b]\nhttp: [{{{ROUTE}}}]", "hosts[0]", "is not a host name"),
        ("VirtualService", f"hosts: ['*.a.com', b.a.com]\nhttp: [{{{ROUTE}}}]", "hosts[1]", "are the same or overlap"),
        ("VirtualService", f"hosts: [a, a]\nhttp: [{{{ROUTE}}}]", "hosts[1]", "are the same or overlap"),
        ("VirtualService", f"hosts: [a]\ngateways: [a.b]\nhttp: [{{{ROUTE}}}]", "gateways[0]", "form namespace/name"),
        ("VirtualService", f"hosts: [a]\nexportTo: ['*', b]\nhttp: [{{{ROUTE}}}]", "exportTo", "`*` must stand alone"),
        ("VirtualService", f"hosts: [a]\nexportTo: [., causeway]\nhttp: [{{{ROUTE}}}]", "exportTo[1]", "is there twice"),
        ("VirtualService", f"hosts: [a]\nexportTo: ['~']\nhttp: [{{{ROUTE}}}]", "exportTo[0]", "is neither"),
        ("VirtualService", f"hosts: [a]\ntls: [{{{ROUTE}}}]", "tls[0].match", "is missing"),
        ("VirtualService", f"hosts: [a]\ntls: [{{match: [{{port: 1}}], {ROUTE}}}]", "tls[0].match[0].sniHosts", "at least one"),
        ("VirtualService", f"hosts: [a]\ntls: [{{match: [{{sniHosts: [b]}}], {ROUTE}}}]", "tls[0].match[0].sniHosts[0]", "none of the hosts"),
        ("VirtualService", "hosts: [a]\ntcp: [{match: [{port: 1}]}]", "tcp[0].route", "is missing"),
        ("VirtualService", f"hosts: [a]\ntcp: [{{match: [{{destinationSubnets: [x]}}], {ROUTE}}}]", "tcp[0].match[0].destinationSubnets[0]", "no IP address"),
        ("DestinationRule", "trafficPolicy: {tls: {mode: DISABLE}}", "host", "is missing"),
        ("DestinationRule", "host: a b", "host", "is not a host name"),
        ("DestinationRule", "host: a\ntrafficPolicy: {}", "trafficPolicy", "must say something"),
        ("DestinationRule", "host: a\nsubsets: [{labels: {a: b}}]", "subsets[0].name", "is missing"),
        ("DestinationRule", "host: a\nsubsets: [{name: b}, {name: b}]", "subsets[1]", "there are two subsets b"),
        ("DestinationRule", "host: a\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: [c]", "exportTo", "its own namespace alone"),
        ("DestinationRule", "host: a\nworkloadSelector: {}", "workloadSelector", "selects by no label"),
        ("DestinationRule", "host: a\nworkloadSelector: {matchLabels: {a: 'b*'}}", "workloadSelector.matchLabels.a", "wildcards"),
        ("Gateway", "selector: {a: b}", "servers", "at least one server"),
        ("Gateway", "servers: [{port: {number: 80, name: a, protocol: HTTP}}]", "servers[0].hosts", "at least one host"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 80, name: a, protocol: SMTP}}]", "servers[0].port.protocol", "must be one of HTTP"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 80, name: a, protocol: REDIS}}]", "servers[0].port.protocol", "REDIS is not supported"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 80, protocol: HTTP}}]", "servers[0].port.name", "is missing"),
        ("Gateway", "servers: [{hosts: [short], port: {number: 80, name: a, protocol: HTTP}}]", "servers[0].hosts[0]", "is a short name"),
        ("Gateway", "servers: [{hosts: ['a*.com'], port: {number: 80, name: a, protocol: HTTP}}]", "servers[0].hosts[0]", "is not a host name"),
        ("Gateway", "servers: [{hosts: ['*'], bind: x, port: {number: 80, name: a, protocol: HTTP}}]", "servers[0].bind", "is not an IP address"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: HTTPS}}]", "servers[0].tls", "is missing"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 80, name: a, protocol: HTTP}, tls: {mode: SIMPLE, credentialName: c}}]", "servers[0].tls", "plain text"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: HTTPS}, tls: {mode: SIMPLE}}]", "servers[0].tls.serverCertificate", "is missing: SIMPLE"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: TLS}, tls: {mode: PASSTHROUGH, credentialName: c}}]", "servers[0].tls.credentialName", "beside PASSTHROUGH"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: TLS}, tls: {mode: ISTIO_MUTUAL, privateKey: k}}]", "servers[0].tls.privateKey", "beside ISTIO_MUTUAL"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: TLS}, tls: {mode: PASSTHROUGH, cipherSuites: [x]}}]", "servers[0].tls.cipherSuites[0]", "not a suite"),
        ("Gateway", "servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: TLS}, tls: {mode: PASSTHROUGH, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}]", "servers[0].tls.maxProtocolVersion", "below"),
        ("Sidecar", "{}", "", "must say something"),
        ("Sidecar", "ingress: [{defaultEndpoint: '127.0.0.1:80'}]", "ingress[0].port", "is missing"),
        ("Sidecar", "ingress: [{port: {number: 80}}]", "ingress[0].port.protocol", "protocols are not guessed"),
        ("Sidecar", "ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '10.0.0.1:80'}]", "ingress[0].defaultEndpoint", "must be 127.0.0.1:port"),
        ("Sidecar", "ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: 'unix:///a'}]", "ingress[0].defaultEndpoint", "Unix sockets"),
        ("Sidecar", "ingress: [{port: {number: 80, protocol: HTTP}}, {port: {number: 80, protocol: HTTP}}]", "ingress[1].port.number", "two listeners"),
        ("Sidecar", "egress: [{hosts: []}]", "egress[0].hosts", "at least one host"),
        ("Sidecar", "egress: [{hosts: [a.b]}]", "egress[0].hosts[0]", "form namespace/host"),
        ("Sidecar", "egress: [{hosts: [./a]}]", "egress[0].hosts[0]", "is a short name"),
        ("Sidecar", "egress: [{hosts: [./a.b, causeway/a.b]}]", "egress[0].hosts[1]", "is already among"),
        ("Sidecar", "egress: [{hosts: ['*/*', ./a.b]}]", "egress[0].hosts", "means all hosts"),
        ("Sidecar", "egress: [{hosts: [./*]}, {port: {number: 1, protocol: TCP}, hosts: [./*]}]", "egress[0].port", "only the last"),
        ("ServiceEntry", "ports: [{number: 80, name: a, protocol: HTTP}]", "hosts", "at least one host"),
        ("ServiceEntry", "hosts: ['*']\nports: [{number: 80, name: a, protocol: HTTP}]", "hosts[0]", "must name a service"),
        ("ServiceEntry", "hosts: [a.b]", "ports", "at least one port"),
        ("ServiceEntry", "hosts: [a.b]\nports: [{number: 80, name: a}]", "ports[0].protocol", "protocols are not guessed"),
        ("ServiceEntry", "hosts: [a.b]\nports: [{number: 80, name: a, protocol: HTTP}, {number: 80, name: a, protocol: HTTP}]", "ports[1].name", "two ports a"),
        ("ServiceEntry", "hosts: [a.b]\nports: [{number: 80, name: a, protocol: HTTP}]\nendpoints: [{address: 1.2.3.4}]", "endpoints", "beside resolution NONE"),
        ("ServiceEntry", "hosts: [a.b]\nresolution: STATIC\nports: [{number: 80, name: a, protocol: HTTP}]\nendpoints: [{address: a.c}]", "endpoints[0].address", "as STATIC has it"),
        ("ServiceEntry", "hosts: [a.b]\nresolution: STATIC\nports: [{number: 80, name: a, protocol: HTTP}]\nendpoints: [{address: 1.2.3.4, ports: {b: 1}}]", "endpoints[0].ports.b", "has no port b"),
        ("ServiceEntry", "hosts: ['*.a.b']\nresolution: DNS\nports: [{number: 80, name: a, protocol: HTTP}]", "hosts[0]", "cannot be looked up"),
        ("ServiceEntry", "hosts: [a.b]\nresolution: DNS\naddresses: [10.0.0.0/8]\nports: [{number: 80, name: a, protocol: HTTP}]", "addresses[0]", "beside resolution DNS"),
        ("ServiceEntry", "hosts: [a.b, a.c]\nresolution: DNS\nports: [{number: 80, name: a, protocol: TCP}]", "ports[0].protocol", "cannot tell several hosts apart"),
        ("WorkloadEntry", "labels: {a: b}", "address", "is missing"),
        ("WorkloadEntry", "address: unix:///a", "address", "Unix sockets"),
        ("WorkloadEntry", "address: a b", "address", "is neither an IP address"),
        ("WorkloadEntry", "address: 1.2.3.4\nports: {a: 0}", "ports.a", "must be from 1 to 65535"),
        ("WorkloadEntry", "address: 1.2.3.4\nlocality: a//b", "locality", "form region/zone/subzone"),
        ("WorkloadEntry", "address: 1.2.3.4\nserviceAccount: A", "serviceAccount", "is not a name"),
        ("WorkloadGroup", "metadata: {labels: {a: b}}", "template", "is missing"),
        ("WorkloadGroup", "template: {}\nprobe: {}", "probe", "must have one of tcpSocket, grpc"),
        ("WorkloadGroup", "template: {ports: {grpc: 1}}\nprobe: {grpc: {port: 2}}", "probe.grpc.port", "must be one of the template's ports"),
        ("WorkloadGroup", "template: {}\nprobe: {grpc: {}, periodSeconds: -1}", "probe.periodSeconds", "must not be negative"),
        ("EnvoyFilter", "priority: 1", "configPatches", "at least one patch"),
        ("EnvoyFilter", "configPatches: [{patch: {operation: REMOVE}}]", "configPatches[0].applyTo", "is missing"),
        ("EnvoyFilter", "configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE}}]", "configPatches[0].patch.value", "MERGE needs it"),
        ("EnvoyFilter", "configPatches: [{applyTo: CLUSTER, patch: {value: {a: b}}}]", "configPatches[0].patch.operation", "is missing"),
        ("EnvoyFilter", "configPatches: [{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}]", "configPatches[0].match.listener", "does not go with applyTo CLUSTER"),
        ("EnvoyFilter", "configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: a, subFilter: {name: b}}}}}, patch: {operation: REMOVE}}]", "configPatches[0].match.listener.filterChain.filter.subFilter", "HTTP_FILTER alone"),
        ("EnvoyFilter", "configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {a: yes}}}]", "configPatches[0].patch.value.a", "put it in quotes"),
        ("EnvoyFilter", "configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {1: a}}}]", "configPatches[0].patch.value.1", "put it in quotes"),
        ("Service", "ports: [{name: a}]", "ports[0].port", "is missing"),
        ("Service", "ports: [{port: 1}, {port: 1}]", "ports[1].port", "there are two ports 1"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_refused(kind: str, spec: str, path: str, message: str) -> None:
    found = wrong_with(kind, spec)
    assert any(error.startswith(f"{path}:") and message in error for error in found), found


@pytest.mark.parametrize(
    "policy,path,message",
    [
        ("loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}", "loadBalancer.consistentHash", "only one of simple, consistentHash"),
        ("loadBalancer: {consistentHash: {}}", "loadBalancer.consistentHash", "must have one of httpHeaderName"),
        ("loadBalancer: {consistentHash: {httpCookie: {}}}", "loadBalancer.consistentHash.httpCookie.name", "is missing"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 10}}}", "loadBalancer.consistentHash.maglev.tableSize", "prime"),
        ("loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {}, maglev: {tableSize: 7}}}", "loadBalancer.consistentHash.maglev", "only one of ringHash, maglev"),
        ("loadBalancer: {warmup: {aggression: 0.5, duration: 1s}}", "loadBalancer.warmup.aggression", "at least 1"),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}}", "loadBalancer.localityLbSetting.distribute[0].to", "must add up to 100, not 50"),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 60, b/c: 40}}]}}", "loadBalancer.localityLbSetting.distribute[0].to.b/c", "overlaps with `b`"),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: '*/a', to: {b: 100}}]}}", "loadBalancer.localityLbSetting.distribute[0].from", "wildcard stands for the last part"),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]}}", "loadBalancer.localityLbSetting.failover", "only one of"),
        ("loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}", "loadBalancer.localityLbSetting.failover[0].to", "must be another region"),
        ("loadBalancer: {localityLbSetting: {failover: [{from: a/b, to: c}]}}", "loadBalancer.localityLbSetting.failover[0].from", "a region alone"),
        ("loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/region]}}", "loadBalancer.localityLbSetting.failoverPriority[0]", "beside failover"),
        ("connectionPool: {}", "connectionPool", "must have http or tcp"),
        ("connectionPool: {tcp: {maxConnections: -1}}", "connectionPool.tcp.maxConnections", "must not be negative"),
        ("connectionPool: {tcp: {connectTimeout: 2h}}", "connectionPool.tcp.connectTimeout", "must not be longer than 1h"),
        ("connectionPool: {tcp: {tcpKeepalive: {time: 1500ms}}}", "connectionPool.tcp.tcpKeepalive.time", "whole seconds"),
        ("connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}", "connectionPool.http.useClientProtocol", "beside h2UpgradePolicy"),
        ("outlierDetection: {maxEjectionPercent: 101}", "outlierDetection.maxEjectionPercent", "must be from 0 to 100"),
        ("outlierDetection: {consecutiveLocalOriginFailures: 1}", "outlierDetection.consecutiveLocalOriginFailures", "means nothing without"),
        ("outlierDetection: {interval: 0s}", "outlierDetection.interval", "at least 1ms"),
        ("tls: {mode: MUTUAL}", "tls.privateKey", "is missing: MUTUAL"),
        ("tls: {mode: ISTIO_MUTUAL, caCertificates: /a}", "tls.caCertificates", "beside ISTIO_MUTUAL"),
        ("tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}", "tls.subjectAltNames", "beside insecureSkipVerify"),
        ("portLevelSettings: [{tls: {mode: DISABLE}}]", "portLevelSettings[0].port", "is missing"),
        ("portLevelSettings: [{port: {number: 1}}]", "portLevelSettings[0]", "must say something beside the port"),
    ],
)  # fmt: skip
def test_a_wrong_traffic_policy_is_refused(policy: str, path: str, message: str) -> None:
    for prefix, spec in (
        ("trafficPolicy", f"host: a\ntrafficPolicy: {{{policy}}}"),
        ("subsets[0].trafficPolicy", f"host: a\nsubsets: [{{name: b, trafficPolicy: {{{policy}}}}}]"),
    ):
        found = wrong_with("DestinationRule", spec)
        assert any(error.startswith(f"{prefix}.{path}:") and message in error for error in found), found


def test_what_could_not_be_read_is_not_complained_of_again() -> None:
    assert wrong_with("DestinationRule", "host: 7") == [
        "host: must be text, and `7` is a number: put it in quotes",
    ]
    assert len(http("route: [{destination: {host: a}}], fault: {abort: {http2Error: x}}")) == 1
    assert len(http("delegate: {name: a}")) == 1

"""What Istio's webhook refuses in the security kinds, Telemetry and MeshConfig."""

# ruff: noqa: E501  # one case a line
from __future__ import annotations

import pytest
from support.manifests import wrong_with

KEYS = "jwksUri: https://a/b"


@pytest.mark.parametrize(
    "kind,spec,path,message",
    [
        ("PeerAuthentication", "portLevelMtls: {80: {mode: STRICT}}", "portLevelMtls", "goes with a selector alone"),
        ("PeerAuthentication", "selector: {matchLabels: {a: b}}\nportLevelMtls: {}", "portLevelMtls", "at least one port"),
        ("PeerAuthentication", "selector: {matchLabels: {a: b}}\nportLevelMtls: {70000: {}}", "portLevelMtls.70000", "must be from 1"),
        ("PeerAuthentication", "selector: {matchLabels: {a: b}}\nportLevelMtls: {http: {}}", "portLevelMtls.http", "must be a whole number"),
        ("PeerAuthentication", "mtls: {mode: STRIKT}", "mtls.mode", "must be one of UNSET, DISABLE, PERMISSIVE, STRICT, not `STRIKT`: did you mean STRICT?"),
        ("PeerAuthentication", "mtls: {mode: strict}", "mtls.mode", "did you mean STRICT?"),
        ("RequestAuthentication", f"jwtRules: [{{{KEYS}}}]", "jwtRules[0].issuer", "is missing"),
        ("RequestAuthentication", "jwtRules: [{issuer: a}]", "jwtRules[0]", "must have jwks or jwksUri"),
        ("RequestAuthentication", f"jwtRules: [{{issuer: a, {KEYS}, jwks: '{{}}'}}]", "jwtRules[0].jwksUri", "only one of jwks, jwksUri"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwks: '{}'}]", "jwtRules[0].jwks", "is not a JSON Web Key Set"),
        ("RequestAuthentication", "jwtRules: [{issuer: a, jwksUri: 'file:///a'}]", "jwtRules[0].jwksUri", "is not an http or https URI"),
        ("RequestAuthentication", f"jwtRules: [{{issuer: a, {KEYS}, audiences: ['']}}]", "jwtRules[0].audiences[0]", "is empty"),
        ("RequestAuthentication", f"jwtRules: [{{issuer: a, {KEYS}, fromHeaders: [{{prefix: b}}]}}]", "jwtRules[0].fromHeaders[0].name", "is missing"),
        ("RequestAuthentication", f"jwtRules: [{{issuer: a, {KEYS}, outputPayloadToHeader: 'a b'}}]", "jwtRules[0].outputPayloadToHeader", "is not the name"),
        ("RequestAuthentication", f"jwtRules: [{{issuer: a, {KEYS}, outputClaimToHeaders: [{{claim: b}}]}}]", "jwtRules[0].outputClaimToHeaders[0].header", "is missing"),
        ("RequestAuthentication", "targetRefs: [{kind: Gateway}]", "targetRefs", "is not supported"),
        ("AuthorizationPolicy", "action: DENY", "rules", "DENY without rules never holds"),
        ("AuthorizationPolicy", "action: CUSTOM\nrules: [{}]", "provider", "is missing"),
        ("AuthorizationPolicy", "provider: {name: a}", "provider", "goes with CUSTOM alone"),
        ("AuthorizationPolicy", "rules: [{from: []}]", "rules[0].from", "is empty: leave it out to match all"),
        ("AuthorizationPolicy", "rules: [{from: [{}]}]", "rules[0].from[0].source", "is missing"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {}}]}]", "rules[0].from[0].source", "must say something"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {principals: ['spiffe://a/ns/b/sa/c']}}]}]", "rules[0].from[0].source.principals[0]", "without `spiffe://`"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {ipBlocks: [a]}}]}]", "rules[0].from[0].source.ipBlocks[0]", "no IP address"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {notRemoteIpBlocks: [10.0.0.0/40]}}]}]", "rules[0].from[0].source.notRemoteIpBlocks[0]", "no IP address"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {namespaces: ['']}}]}]", "rules[0].from[0].source.namespaces[0]", "is empty"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {trustDomains: [cluster.local/ns/a]}}]}]", "rules[0].from[0].source.trustDomains[0]", "without a `/`"),
        ("AuthorizationPolicy", "action: CUSTOM\nprovider: {name: a}\nrules: [{from: [{source: {notTrustDomains: [a]}}]}]", "rules[0].from[0].source.notTrustDomains", "not supported by CUSTOM"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]", "rules[0].from[0].source.serviceAccounts[0]", "form namespace/name"),
        ("AuthorizationPolicy", "rules: [{from: [{source: {serviceAccounts: [a], principals: [b]}}]}]", "rules[0].from[0].source.serviceAccounts", "beside principals"),
        ("AuthorizationPolicy", "action: CUSTOM\nprovider: {name: p}\nrules: [{from: [{source: {principals: [a]}}]}]", "rules[0].from[0].source.principals", "not supported by CUSTOM"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {}}]}]", "rules[0].to[0].operation", "must say something"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {ports: [8080]}}]}]", "rules[0].to[0].operation.ports[0]", "put it in quotes"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {ports: ['http']}}]}]", "rules[0].to[0].operation.ports[0]", "must be a port"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]", "rules[0].to[0].operation.paths[0]", "no template may follow"),
        ("AuthorizationPolicy", "rules: [{to: [{operation: {paths: ['/a{*}']}}]}]", "rules[0].to[0].operation.paths[0]", "is neither text nor"),
        ("AuthorizationPolicy", "rules: [{when: [{values: [a]}]}]", "rules[0].when[0].key", "is missing"),
        ("AuthorizationPolicy", "rules: [{when: [{key: source.user, values: [a]}]}]", "rules[0].when[0].key", "is not an attribute"),
        ("AuthorizationPolicy", "rules: [{when: [{key: source.ip}]}]", "rules[0].when[0]", "must have values or notValues"),
        ("AuthorizationPolicy", "rules: [{when: [{key: source.ip, values: [a]}]}]", "rules[0].when[0].values[0]", "no IP address"),
        ("AuthorizationPolicy", "rules: [{when: [{key: destination.port, notValues: ['0']}]}]", "rules[0].when[0].notValues[0]", "must be a port"),
        ("Telemetry", "tracing: [{}, {}]", "tracing[1]", "must be one"),
        ("Telemetry", "tracing: [{providers: [{}]}]", "tracing[0].providers[0].name", "is missing"),
        ("Telemetry", "tracing: [{randomSamplingPercentage: 101}]", "tracing[0].randomSamplingPercentage", "must be from 0 to 100"),
        ("Telemetry", "tracing: [{customTags: {a: {}}}]", "tracing[0].customTags.a", "must have one of literal, environment, header"),
        ("Telemetry", "tracing: [{customTags: {a: {literal: {}}}}]", "tracing[0].customTags.a.literal.value", "is missing"),
        ("Telemetry", "accessLogging: [{filter: {}}]", "accessLogging[0].filter.expression", "is missing"),
        ("Telemetry", "metrics: [{providers: [{}]}]", "metrics[0].providers[0].name", "is missing"),
        ("Telemetry", "metrics: [{reportingInterval: 5s}]", "metrics[0].reportingInterval", "change when a request or a connection ends"),
        ("Telemetry", "metrics: [{overrides: [{match: {metric: GRPC_REQUEST_MESSAGES}}]}]", "metrics[0].overrides[0].match.metric", "cannot read how many messages"),
        ("Telemetry", "metrics: [{overrides: [{match: {metric: REQUESTS}}]}]", "metrics[0].overrides[0].match.metric", "must be one of"),
        ("Telemetry", "metrics: [{overrides: [{match: {customMetric: mine}}]}]", "metrics[0].overrides[0].match.customMetric", "there is no metric mine"),
        ("Telemetry", "metrics: [{overrides: [{match: {customMetric: request_bytes, metric: REQUEST_SIZE}}]}]", "metrics[0].overrides[0].match.metric", "only one of metric, customMetric"),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {a-b: {operation: REMOVE}}}]}]", "metrics[0].overrides[0].tagOverrides.a-b", "cannot be the name of a label"),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {le: {operation: REMOVE}}}]}]", "metrics[0].overrides[0].tagOverrides.le", "cannot be the name of a label"),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {a: {}}}]}]", "metrics[0].overrides[0].tagOverrides.a.value", "needs an expression"),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: request.host}}}]}]", "metrics[0].overrides[0].tagOverrides.a.value", "goes with UPSERT alone"),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {a: {value: request.url_path}}}]}]", "metrics[0].overrides[0].tagOverrides.a.value", "has no bounds"),
        ("Telemetry", "metrics: [{overrides: [{tagOverrides: {a: {value: 'request.host =='}}}]}]", "metrics[0].overrides[0].tagOverrides.a.value", "is not CEL"),
        ("IstioOperator", "values: {}", "values", "is not supported"),
        ("IstioOperator", "meshConfig: {trustDomain: a_b}", "meshConfig.trustDomain", "is not a trust domain"),
        ("IstioOperator", "meshConfig: {connectTimeout: 2h}", "meshConfig.connectTimeout", "must not be longer than 1h"),
        ("IstioOperator", "meshConfig: {defaultHttpRetryPolicy: {attempts: 1, perTryTimeout: 1s}}", "meshConfig.defaultHttpRetryPolicy.perTryTimeout", "not supported for the whole mesh"),
        ("IstioOperator", "meshConfig: {defaultServiceExportTo: [a_b]}", "meshConfig.defaultServiceExportTo[0]", "is neither"),
        ("IstioOperator", "meshConfig: {pathNormalization: {normalization: NONE}}", "meshConfig.pathNormalization.normalization", "NONE is not supported"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{envoyFileAccessLog: {}}]}", "meshConfig.extensionProviders[0].name", "is missing"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a}]}", "meshConfig.extensionProviders[0]", "must have one of envoyExtAuthzGrpc"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a, envoyFileAccessLog: {}}, {name: a, envoyFileAccessLog: {}}]}", "meshConfig.extensionProviders[1].name", "two providers a"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a, zipkin: {}}]}", "meshConfig.extensionProviders[0].zipkin", "write opentelemetry"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a, envoyExtAuthzGrpc: {port: 1}}]}", "meshConfig.extensionProviders[0].envoyExtAuthzGrpc.service", "is missing"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: b/c d, port: 1}}]}", "meshConfig.extensionProviders[0].envoyExtAuthzGrpc.service", "is not a host name"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a, envoyExtAuthzHttp: {service: b, port: 1, statusOnError: '42'}}]}", "meshConfig.extensionProviders[0].envoyExtAuthzHttp.statusOnError", "must be an HTTP status"),
        ("IstioOperator", "meshConfig: {defaultProviders: {tracing: [a]}}", "meshConfig.defaultProviders.tracing[0]", "extensionProviders has no a"),
        ("IstioOperator", "meshConfig: {defaultProviders: {metrics: [a]}}", "meshConfig.defaultProviders.metrics[0]", "extensionProviders has no a"),
        ("IstioOperator", "meshConfig: {extensionProviders: [{name: a, envoyFileAccessLog: {}}], defaultProviders: {metrics: [a]}}", "meshConfig.defaultProviders.metrics[0]", "a is not a prometheus provider"),
        ("IstioOperator", "meshConfig: {defaultConfig: {drainDuration: 1500ms}}", "meshConfig.defaultConfig.drainDuration", "whole seconds"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_refused(kind: str, spec: str, path: str, message: str) -> None:
    found = wrong_with(kind, spec)
    assert any(error.startswith(f"{path}:") and message in error for error in found), found


def test_an_empty_allow_policy_is_read_since_it_means_something() -> None:
    assert wrong_with("AuthorizationPolicy", "{}") == []
    assert wrong_with("AuthorizationPolicy", "rules: [{}]") == []

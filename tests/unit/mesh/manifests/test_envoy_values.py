"""The values that an EnvoyFilter patches with are read as the protos of Envoy that they become part of."""

# ruff: noqa: E501  # one case a line
from __future__ import annotations

import pytest
from support.manifests import wrong_with

from mesh.manifests import ManifestErrors, Text, read

HTTP = "type.googleapis.com/envoy.extensions.filters.http"


@pytest.mark.parametrize(
    "target,value,path,message",
    [
        ("CLUSTER", "{no_such_field: 1}", ".no_such_field", "envoy.config.cluster.v3.Cluster has no field no_such_field"),
        ("CLUSTER", "{conect_timeout: 1s}", ".conect_timeout", "did you mean connect_timeout?"),
        ("CLUSTER", "{connect_timeout: soon}", ".connect_timeout", "is no google.protobuf.Duration"),
        ("CLUSTER", "{connect_timeout: 1s, connectTimeout: 2s}", ".connectTimeout", "is connect_timeout, which is there already"),
        ("CLUSTER", "{name: 7}", ".name", "must be text, not `7`"),
        ("CLUSTER", "{respect_dns_ttl: 'yes'}", ".respect_dns_ttl", "must be true or false"),
        ("CLUSTER", "{type: EDDS}", ".type", "`EDDS` is no envoy.config.cluster.v3.Cluster.DiscoveryType: did you mean EDS?"),
        ("CLUSTER", "{type: 1.5}", ".type", "`1.5` is no"),
        ("CLUSTER", "{type: [STRICT_DNS]}", ".type", "must be one of envoy.config.cluster.v3.Cluster.DiscoveryType"),
        ("HTTP_FILTER", "{name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}", ".typed_config", "it lacks 'value'"),
        ("CLUSTER", "{per_connection_buffer_limit_bytes: -1}", ".per_connection_buffer_limit_bytes", "is no google.protobuf.UInt32Value"),
        ("CLUSTER", "{health_checks: {}}", ".health_checks", "must be a list"),
        ("CLUSTER", "{health_checks: [1]}", ".health_checks[0]", "must be a map"),
        ("CLUSTER", "{health_checks: [{}, {timeout: 1s, time_out: 1s}]}", ".health_checks[1].time_out", "has no field"),
        ("CLUSTER", "{transport_socket_matches: [null]}", ".transport_socket_matches[0]", "is empty"),
        ("CLUSTER", "{type: EDS, cluster_type: {name: a}}", "", "cluster_discovery_type"),
        ("CLUSTER", "{metadata: {filter_metadata: {a: [1]}}}", ".metadata.filter_metadata.a", "is no google.protobuf.Struct"),
        ("CLUSTER", "{typed_extension_protocol_options: {a: {b: 1}}}", ".typed_extension_protocol_options.a", "has no @type"),
        ("LISTENER", "{filter_chains: [{filterz: []}]}", ".filter_chains[0].filterz", "listener.v3.FilterChain has no field"),
        ("FILTER_CHAIN", "{listener_filters: []}", ".listener_filters", "listener.v3.FilterChain has no field"),
        ("NETWORK_FILTER", "{is_optional: true}", ".is_optional", "listener.v3.Filter has no field"),
        ("HTTP_FILTER", "{name: a, config: {}}", ".config", "HttpFilter has no field config"),
        ("HTTP_FILTER", f"{{name: a, typed_config: {{'@type': {HTTP}.lua.v9.Lua}}}}", ".typed_config.@type", "TypedStruct"),
        ("HTTP_FILTER", f"{{name: a, typed_config: {{'@type': {HTTP}.lua.v3.Lua, prefix: x}}}}", ".typed_config.prefix", "lua.v3.Lua has no field prefix"),
        ("ROUTE_CONFIGURATION", "{routes: []}", ".routes", "RouteConfiguration has no field"),
        ("VIRTUAL_HOST", "{domains: a}", ".domains", "must be a list"),
        ("HTTP_ROUTE", "{route: {timeout: 1}}", ".route.timeout", "is no google.protobuf.Duration"),
        ("EXTENSION_CONFIG", "{nmae: a}", ".nmae", "did you mean name?"),
    ],
)  # fmt: skip
def test_a_patchs_value_is_read_as_what_it_patches(target: str, value: str, path: str, message: str) -> None:
    found = wrong_with(
        "EnvoyFilter", f"configPatches: [{{applyTo: {target}, patch: {{operation: ADD, value: {value}}}}}]"
    )
    (error,) = found
    assert error.startswith(f"configPatches[0].patch.value{path}: "), error
    assert message in error


def test_a_value_of_envoys_own_json_is_taken_as_it_is() -> None:
    """Both spellings of a field, whatever has JSON of its own, and types that only Envoy knows."""
    assert not wrong_with(
        "EnvoyFilter",
        f"""
        configPatches:
        - applyTo: HTTP_FILTER
          patch:
            operation: INSERT_FIRST
            value:
              name: a
              typedConfig:
                "@type": type.googleapis.com/xds.type.v3.TypedStruct
                type_url: {HTTP}.only.envoy.v3.Knows
                value: {{anything: [1, {{at: all}}]}}
        - applyTo: CLUSTER
          patch:
            operation: MERGE
            value:
              connectTimeout: 1.5s
              lb_policy: MAGLEV
              alt_stat_name: null
              per_connection_buffer_limit_bytes: 32768
              metadata: {{filter_metadata: {{a: {{b: [c, 1, null]}}}}}}
              typed_extension_protocol_options:
                a: {{"@type": type.googleapis.com/google.protobuf.Struct, value: {{b: c}}}}
        """,
    )


def test_what_is_wrong_deep_in_a_value_is_told_with_its_own_line() -> None:
    text = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: a, namespace: causeway}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch:
      operation: MERGE
      value:
        connect_timeout: 1s
        circuit_breakers:
          thresholds:
          - max_requests: 1
          - max_requests: 1
            max_foos: 2
"""
    with pytest.raises(ManifestErrors) as raised:
        read([Text("f.yaml", text)])
    (error,) = raised.value.errors
    assert (error.file, error.line) == ("f.yaml", 15)
    assert error.path == "spec.configPatches[0].patch.value.circuit_breakers.thresholds[1].max_foos"

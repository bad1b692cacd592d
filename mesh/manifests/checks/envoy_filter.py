"""EnvoyFilter."""

from __future__ import annotations

from mesh.manifests.checks.envoy_value import check_value
from mesh.manifests.checks.names import check_selector
from mesh.manifests.envoy_filter import (
    ApplyTo,
    EnvoyConfigObjectMatch,
    EnvoyConfigObjectPatch,
    EnvoyFilter,
    PatchContext,
    PatchOperation,
)
from mesh.manifests.findings import Findings
from mesh.xds.protos import PATCHED

_WITH_GATEWAYS = (PatchContext.ANY, PatchContext.GATEWAY)
CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"
_CLASSES = {
    ApplyTo.LISTENER: "listener",
    ApplyTo.FILTER_CHAIN: "listener",
    ApplyTo.NETWORK_FILTER: "listener",
    ApplyTo.HTTP_FILTER: "listener",
    ApplyTo.ROUTE_CONFIGURATION: "route_configuration",
    ApplyTo.VIRTUAL_HOST: "route_configuration",
    ApplyTo.HTTP_ROUTE: "route_configuration",
    ApplyTo.CLUSTER: "cluster",
}
"""Which match goes with what is patched; extension configurations are not matched."""


def check_envoy_filter(envoy_filter: EnvoyFilter, findings: Findings) -> None:
    """What is patched, matched and done go together."""
    check_selector(envoy_filter, "workload_selector", envoy_filter.workload_selector, findings)
    if not envoy_filter.config_patches:
        findings.field(envoy_filter, "config_patches", "must have at least one patch")
    for patch in envoy_filter.config_patches:
        _check_patch(patch, findings)


def _check_patch(patch: EnvoyConfigObjectPatch, findings: Findings) -> None:
    if patch.apply_to is None:
        findings.field(patch, "apply_to", "is missing")
    if patch.patch is None:
        findings.field(patch, "patch", "is missing")
    elif patch.patch.operation is None:
        findings.field(patch.patch, "operation", "is missing")
    elif patch.patch.operation is not PatchOperation.REMOVE and not patch.patch.value:
        findings.field(patch.patch, "value", f"is missing: {patch.patch.operation.value} needs it")
    elif patch.patch.operation is PatchOperation.REMOVE and patch.patch.value:
        findings.field(patch.patch, "value", "means nothing with REMOVE")
    elif patch.patch.value and patch.apply_to is not None:
        check_value(patch.patch, PATCHED[patch.apply_to.value], findings)
    if patch.match is not None and patch.apply_to is not None:
        _check_match(patch.match, patch.apply_to, findings)


def _check_match(match: EnvoyConfigObjectMatch, apply_to: ApplyTo, findings: Findings) -> None:
    wanted = _CLASSES.get(apply_to)
    for name in ("listener", "route_configuration", "cluster"):
        if getattr(match, name) is not None and name != wanted:
            findings.field(match, name, f"does not go with applyTo {apply_to.value}")
    table = match.route_configuration
    if table is not None and table.gateway is not None and match.context not in (None, *_WITH_GATEWAYS):
        findings.field(table, "gateway", f"does not go with context {match.context.value}")
    chain = match.listener.filter_chain if match.listener is not None else None
    if chain is None or chain.filter is None:
        return
    if apply_to in (ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN):
        findings.field(chain, "filter", f"does not go with applyTo {apply_to.value}")
    if chain.filter.name is None:
        findings.field(chain.filter, "name", "is missing")
    if chain.filter.sub_filter is not None:
        if apply_to is not ApplyTo.HTTP_FILTER:
            findings.field(chain.filter, "sub_filter", "goes with applyTo HTTP_FILTER alone")
        if chain.filter.name not in (None, CONNECTION_MANAGER):
            findings.field(chain.filter, "sub_filter", f"goes with the filter {CONNECTION_MANAGER} alone")
        if chain.filter.sub_filter.name is None:
            findings.field(chain.filter.sub_filter, "name", "is missing")

"""All rules, in the order of the README."""

from __future__ import annotations

from mesh.lint import authorization, failover, filters, hosts, proxies, retries, routing, tls, tokens
from mesh.lint.finding import Rule

SUBJECTS: tuple[tuple[str, tuple[Rule, ...]], ...] = (
    ("Failover and outlier detection", failover.RULES),
    ("Retries and timeouts", retries.RULES),
    ("Routes", routing.RULES),
    ("Services, subsets and workloads", hosts.RULES),
    ("TLS", tls.RULES),
    ("Authorisation", authorization.RULES),
    ("Tokens and external authorisers", tokens.RULES),
    ("Sidecars, telemetry, connections", proxies.RULES),
    ("EnvoyFilters", filters.RULES),
)

RULES: tuple[Rule, ...] = tuple(rule for _, rules in SUBJECTS for rule in rules)

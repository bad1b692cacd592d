"""The policy service: what callers may do, what texts may show, what tenants may use, and what was done."""

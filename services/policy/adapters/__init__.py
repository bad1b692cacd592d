"""The only modules that know a driver: PostgreSQL for the audit log, Valkey for the quota ledger."""

"""The session service's adapters: the only places that import a driver."""

"""The retrieval service: a tenant's documents, their ingestion, and search over them."""

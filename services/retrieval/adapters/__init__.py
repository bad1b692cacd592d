"""The drivers behind the ports: PostgreSQL, Valkey, Milvus, Triton and the reader's child processes."""

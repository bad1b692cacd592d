"""Settings of the retrieval service and of its indexer: both read the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from services.common.config import Peer, ServiceConfig, load
from services.common.postgres import PostgresConfig
from services.common.valkey import ValkeyConfig
from services.retrieval.adapters.milvus import MilvusConfig
from services.retrieval.adapters.reader import ReaderConfig
from services.retrieval.documents import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """The relay's own login: CAUSEWAY_RELAY_POSTGRES_DSN and _PASSWORD_FILE."""

    postgres: PostgresConfig
    """Role that sees the jobs of all tenants, and nothing else of them."""
    sweep: timedelta = timedelta(seconds=5)
    """How often jobs are looked for that no news told of."""
    again: timedelta = timedelta(seconds=30)
    """After how long an unfinished job is handed to the queue again, in case the queue lost it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderConfig:
    """How the embedder is used: CAUSEWAY_EMBEDDER_QUERY_TIMEOUT and the like."""

    query_timeout: timedelta = timedelta(seconds=5)
    """How long a search waits for the vector of its query."""
    query_requests: int = 32
    """Queries that one process has under way at once."""
    batch_timeout: timedelta = timedelta(seconds=60)
    """How long the indexer waits for one request. Generous: the model goes on with what is given up, and an
    impatient indexer would ask for the same again while a busy machine falls further behind."""
    batch_requests: int = 4
    """Requests of up to 16 texts that the indexer has under way at once. Two instances work on two of them
    while two wait; more would only make every search's query wait longer behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexerConfig:
    """How the indexer works: CAUSEWAY_INDEXER_…"""

    documents: int = 8
    """Documents that are worked on at once."""
    wave: int = 64
    """Passages of one document that are embedded and written together, between two notes of progress: what
    is lost when one of its requests fails."""
    attempts: int = 5
    """Deliveries of a job that nobody finished, after which it is given up."""
    visibility: timedelta = timedelta(seconds=15)
    """After how long a silent indexer's jobs are handed to another."""
    upkeep: timedelta = timedelta(seconds=5)
    """How often the index is looked after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read from the environment; see services.common.config for the names."""

    service: ServiceConfig
    """What every service has."""
    postgres: PostgresConfig
    """Where documents are kept."""
    relay: RelayConfig
    """How jobs get from PostgreSQL to the queue."""
    valkey: ValkeyConfig
    """Where the queue is."""
    milvus: MilvusConfig
    """Where the index is."""
    triton: Peer
    """Where the embedder is."""
    limits: Limits = field(default_factory=Limits)
    """How much may be stored at once: CAUSEWAY_LIMITS_UPLOAD_BYTES and the like."""
    embedder: EmbedderConfig = field(default_factory=EmbedderConfig)
    """How the embedder is used."""
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    """How documents are read: CAUSEWAY_READER_TIMEOUT and the like."""
    indexer: IndexerConfig = field(default_factory=IndexerConfig)
    """How the indexer works."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Reads it.

        Raises:
            services.common.config.ConfigError: a key is missing, unknown or malformed.
        """
        return load(cls, environ)

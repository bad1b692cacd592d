"""Documents, their passages, their ingestion, and the jobs that are not done.

Every table holds the rows of many tenants under forced row-level security. The relay's role is the one
exception, written down as policies of its own: it sees the jobs of all tenants and the list of tenants, which
hold ids and no text, and may only mark a job as handed over.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# An unset tenant reads as NULL in a fresh session, and as '' in one that had it set before; neither is one.
CURRENT_TENANT = "nullif(current_setting('app.tenant_id', true), '')"

# Who has ever stored anything: what a rebuild of the index goes through.
TENANTS = """
create table retrieval.tenants (
    tenant_id text primary key,
    create_time timestamptz not null default clock_timestamp()
)
"""
DOCUMENTS = """
create table retrieval.documents (
    tenant_id text not null,
    id uuid not null,
    title text not null check (char_length(title) between 1 and 512),
    media_type text not null check (media_type in ('text', 'markdown', 'html', 'pdf')),
    source text not null check (char_length(source) <= 2048),
    labels jsonb not null check (jsonb_typeof(labels) = 'object'),
    state text not null check (state in ('pending', 'ready', 'failed')),
    content bytea not null,
    size_bytes bigint not null check (size_bytes = octet_length(content)),
    chunk_count integer not null default 0 check (chunk_count >= 0),
    sha256 text not null,
    request_id uuid,
    fingerprint text not null,
    create_time timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id)
)
"""
DOCUMENTS_BY_TIME = """
create index documents_by_time on retrieval.documents (tenant_id, create_time desc, id desc)
"""
DOCUMENTS_BY_REQUEST = """
create unique index documents_by_request on retrieval.documents (tenant_id, request_id)
where request_id is not null
"""
DOCUMENTS_BY_LABEL = """
create index documents_by_label on retrieval.documents using gin (labels jsonb_path_ops)
"""
OPERATIONS = """
create table retrieval.operations (
    tenant_id text not null,
    id uuid not null,
    document_id uuid not null,
    state text not null check (state in ('queued', 'running', 'succeeded', 'failed')),
    chunks_total integer not null default 0 check (chunks_total >= 0),
    chunks_indexed integer not null default 0 check (chunks_indexed between 0 and chunks_total),
    restarts integer not null default 0,
    failure jsonb check ((failure is not null) = (state = 'failed')),
    create_time timestamptz not null default clock_timestamp(),
    update_time timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    foreign key (tenant_id, document_id) references retrieval.documents (tenant_id, id) on delete cascade
)
"""
OPERATIONS_BY_TIME = """
create index operations_by_time on retrieval.operations (tenant_id, create_time desc, id desc)
"""
OPERATIONS_BY_DOCUMENT = """
create index operations_by_document on retrieval.operations (tenant_id, document_id, create_time desc)
"""
CHUNKS = """
create table retrieval.chunks (
    tenant_id text not null,
    document_id uuid not null,
    ordinal integer not null check (ordinal >= 0),
    id uuid not null,
    text text not null,
    context text not null,
    primary key (tenant_id, document_id, ordinal),
    foreign key (tenant_id, document_id) references retrieval.documents (tenant_id, id) on delete cascade
)
"""
CHUNKS_BY_ID = """
create unique index chunks_by_id on retrieval.chunks (tenant_id, id)
"""
# A job stays here until it is done, so that the queue can be lost.
OUTBOX = """
create table retrieval.outbox (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    kind text not null check (kind in ('index', 'delete')),
    document_id uuid not null,
    operation_id uuid,
    publish_time timestamptz,
    check ((operation_id is not null) = (kind = 'index'))
)
"""
OUTBOX_BY_DOCUMENT = """
create index outbox_by_document on retrieval.outbox (tenant_id, document_id)
"""
OUTBOX_BY_TIME = """
create index outbox_by_time on retrieval.outbox (publish_time nulls first, id)
"""
TABLES = ("tenants", "documents", "operations", "chunks", "outbox")

RELAY_POLICIES = """
create policy relay_reads on retrieval.outbox for select to retrieval_relay using (true);
create policy relay_marks on retrieval.outbox for update to retrieval_relay using (true) with check (true);
create policy relay_reads on retrieval.tenants for select to retrieval_relay using (true)
"""
GRANTS = """
grant usage on schema retrieval to retrieval, retrieval_relay;
grant select, insert on retrieval.tenants to retrieval;
grant select, insert, delete on retrieval.documents to retrieval;
grant update (state, chunk_count) on retrieval.documents to retrieval;
grant select, insert on retrieval.operations to retrieval;
grant update (state, chunks_total, chunks_indexed, restarts, failure, update_time)
    on retrieval.operations to retrieval;
grant select, insert, delete on retrieval.chunks to retrieval;
grant select, insert, delete on retrieval.outbox to retrieval;
grant select on retrieval.outbox to retrieval_relay;
grant update (publish_time) on retrieval.outbox to retrieval_relay;
grant select on retrieval.tenants to retrieval_relay
"""
# News carry ids only: every session of the database may listen.
NOTIFY = """
create function retrieval.announce() returns trigger language plpgsql as $$
begin
    if tg_table_name = 'outbox' then
        perform pg_notify('retrieval_outbox', '');
    else
        perform pg_notify('retrieval_operations', coalesce(new.id, old.id)::text);
    end if;
    return null;
end
$$
"""
TRIGGERS = """
create trigger announce after insert on retrieval.outbox for each row execute function retrieval.announce();
create trigger announce after update or delete on retrieval.operations
    for each row execute function retrieval.announce()
"""


def upgrade() -> None:
    """Create the tables, separate the tenants, and let the service and its relay in."""
    for statement in (
        TENANTS,
        DOCUMENTS,
        DOCUMENTS_BY_TIME,
        DOCUMENTS_BY_REQUEST,
        DOCUMENTS_BY_LABEL,
        OPERATIONS,
        OPERATIONS_BY_TIME,
        OPERATIONS_BY_DOCUMENT,
        CHUNKS,
        CHUNKS_BY_ID,
        OUTBOX,
        OUTBOX_BY_DOCUMENT,
        OUTBOX_BY_TIME,
        NOTIFY,
    ):
        op.execute(statement)
    for table in TABLES:
        op.execute(f"alter table retrieval.{table} enable row level security")
        op.execute(f"alter table retrieval.{table} force row level security")
        op.execute(
            f"create policy one_tenant on retrieval.{table} "
            f"using (tenant_id = {CURRENT_TENANT}) with check (tenant_id = {CURRENT_TENANT})"
        )
    for group in (RELAY_POLICIES, GRANTS, TRIGGERS):
        for statement in group.split(";"):
            op.execute(statement)


def downgrade() -> None:
    """Drop the tables with everything in them."""
    for table in reversed(TABLES):
        op.execute(f"drop table retrieval.{table}")
    op.execute("drop function retrieval.announce")
    op.execute("revoke usage on schema retrieval from retrieval, retrieval_relay")

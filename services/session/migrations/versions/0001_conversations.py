"""Conversations and their messages.

Every key begins with tenant and subject: they are part of every question, a message can then belong only to
a conversation of the same person, and one index answers reads, limits and the erasure of a person.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# An unset tenant reads as NULL in a fresh session, and as '' in one that had it set before; neither is one.
CURRENT_TENANT = "nullif(current_setting('app.tenant_id', true), '')"

CONVERSATIONS = """
create table session.conversations (
    tenant_id text not null,
    subject text not null,
    id uuid not null,
    title text not null check (char_length(title) <= 256),
    message_count bigint not null default 0 check (message_count >= 0),
    create_time timestamptz not null,
    update_time timestamptz not null check (update_time >= create_time),
    request_id uuid,
    requested_title text not null,
    primary key (tenant_id, subject, id)
)
"""
# A list reads one range of this index, newest change first.
CONVERSATIONS_BY_CHANGE = """
create index conversations_by_change on session.conversations (tenant_id, subject, update_time desc, id desc)
"""
CONVERSATIONS_BY_REQUEST = """
create unique index conversations_by_request on session.conversations (tenant_id, subject, request_id)
where request_id is not null
"""
MESSAGES = """
create table session.messages (
    tenant_id text not null,
    subject text not null,
    conversation_id uuid not null,
    sequence bigint not null check (sequence >= 1),
    id uuid not null,
    role text not null check (role in ('user', 'assistant')),
    text text not null check (char_length(text) <= 262144),
    citations jsonb not null check (jsonb_typeof(citations) = 'array'),
    partial boolean not null,
    size_bytes integer not null check (size_bytes > 0),
    create_time timestamptz not null,
    request_id uuid,
    primary key (tenant_id, subject, conversation_id, sequence),
    foreign key (tenant_id, subject, conversation_id)
        references session.conversations (tenant_id, subject, id) on delete cascade
)
"""
MESSAGES_BY_REQUEST = """
create unique index messages_by_request on session.messages (tenant_id, subject, request_id)
where request_id is not null
"""
# Messages go with their conversation, by the foreign key and so with the rights of the tables' owner: the
# service itself can neither change nor delete one.
GRANTS = """
grant usage on schema session to session;
grant select, insert, delete on session.conversations to session;
grant update (title, message_count, update_time) on session.conversations to session;
grant select, insert on session.messages to session
"""


def upgrade() -> None:
    """Create the tables, separate the tenants, and let the service in."""
    for statement in (
        CONVERSATIONS,
        CONVERSATIONS_BY_CHANGE,
        CONVERSATIONS_BY_REQUEST,
        MESSAGES,
        MESSAGES_BY_REQUEST,
    ):
        op.execute(statement)
    for table in ("session.conversations", "session.messages"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(
            f"create policy one_tenant on {table} "
            f"using (tenant_id = {CURRENT_TENANT}) with check (tenant_id = {CURRENT_TENANT})"
        )
    for grant in GRANTS.split(";"):
        op.execute(grant)


def downgrade() -> None:
    """Drop the tables with everything in them."""
    op.execute("drop table session.messages")
    op.execute("drop table session.conversations")
    op.execute("revoke usage on schema session from session")

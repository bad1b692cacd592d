"""The audit log.

The service's role may add and read rows, and nothing else: what was done cannot be changed through it. A row
is found again by its id, which comes from the request id; there is no unique key across tenants, so that one
tenant cannot feel another's rows by a conflict.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table, its policy and the grants."""
    op.execute(
        """
        create table policy.audit_entries (
            tenant_id text not null,
            id uuid not null,
            sequence bigint generated always as identity,
            create_time timestamptz not null default now(),
            subject text not null check (length(subject) between 1 and 256),
            action text not null check (length(action) between 1 and 64),
            resource text not null check (length(resource) <= 256),
            outcome smallint not null check (outcome between 1 and 3),
            attributes jsonb not null check (jsonb_typeof(attributes) = 'object'),
            request_id uuid,
            primary key (tenant_id, id)
        );
        comment on table policy.audit_entries is 'What was done, by whom; never changed.';

        -- One index for each way of listing: all, of one subject, of one action; newest first.
        create index audit_entries_by_time
            on policy.audit_entries (tenant_id, create_time desc, sequence desc);
        create index audit_entries_by_subject
            on policy.audit_entries (tenant_id, subject, create_time desc, sequence desc);
        create index audit_entries_by_action
            on policy.audit_entries (tenant_id, action, create_time desc, sequence desc);

        alter table policy.audit_entries enable row level security;
        alter table policy.audit_entries force row level security;
        create policy of_tenant on policy.audit_entries
            using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
            with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

        grant usage on schema policy to policy;
        grant select, insert on policy.audit_entries to policy;
        """
    )


def downgrade() -> None:
    """Drops the log. Made for tests only: nothing of it is kept."""
    op.execute("drop table policy.audit_entries")

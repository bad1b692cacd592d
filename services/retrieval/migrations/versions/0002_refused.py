"""Documents that were refused unread, such as one larger than is taken: their bytes are not kept.

They are rows like any other, so that what became of a file is found where everything else of it would be: in
the tenant's documents, with an operation that failed and says why.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let a failed document be without content."""
    op.execute("alter table retrieval.documents alter column content drop not null")
    op.execute("alter table retrieval.documents drop constraint documents_check")
    op.execute(
        "alter table retrieval.documents add constraint documents_size check ("
        " case when content is null then state = 'failed' and size_bytes >= 0"
        " else size_bytes = octet_length(content) end)"
    )


def downgrade() -> None:
    """Forget such documents; their operations go with them."""
    # The owner of the tables is bound by their policies too.
    op.execute("alter table retrieval.documents no force row level security")
    op.execute("delete from retrieval.documents where content is null")
    op.execute("alter table retrieval.documents force row level security")
    op.execute("alter table retrieval.documents drop constraint documents_size")
    op.execute(
        "alter table retrieval.documents add constraint documents_check"
        " check (size_bytes = octet_length(content))"
    )
    op.execute("alter table retrieval.documents alter column content set not null")

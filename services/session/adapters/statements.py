"""The SQL of the session store.

A write is one statement, so that what it checks and what it stores cannot come apart: the row lock that an
UPDATE takes on the conversation orders its appends, and READ COMMITTED re-evaluates the counter for whoever
waited (https://www.postgresql.org/docs/17/transaction-iso.html#XACT-READ-COMMITTED). Row-level security
separates the tenants; statements name tenant and subject all the same, for the indexes and because two fences
are better than one.
"""

from __future__ import annotations

# Creations of one caller wait for each other: a limit that is counted could be overrun otherwise, and a
# request_id that is looked up be stored twice. The statement after this one sees what the others committed.
LOCK_CREATIONS = "select pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/' || %(subject)s, 0))"

CREATE_CONVERSATION = """
with earlier as (
    select id, title, message_count, create_time, update_time, requested_title
    from session.conversations
    where tenant_id = %(tenant)s and subject = %(subject)s and request_id = %(request_id)s
), kept as (
    select from session.conversations
    where tenant_id = %(tenant)s and subject = %(subject)s
    limit %(limit)s
), made as (
    insert into session.conversations
        (tenant_id, subject, id, title, create_time, update_time, request_id, requested_title)
    select %(tenant)s, %(subject)s, %(id)s, %(title)s, now, now, %(request_id)s, %(title)s
    from clock_timestamp() as now
    where not exists (select from earlier) and (select count(*) from kept) < %(limit)s
    returning id, title, message_count, create_time, update_time, requested_title
)
select * from earlier union all select * from made
"""

GET_CONVERSATION = """
select id, title, message_count, create_time, update_time
from session.conversations
where tenant_id = %(tenant)s and subject = %(subject)s and id = %(id)s
"""

LIST_NEWEST = """
select id, title, message_count, create_time, update_time
from session.conversations
where tenant_id = %(tenant)s and subject = %(subject)s
order by update_time desc, id desc
limit %(limit)s
"""

LIST_AFTER = """
select id, title, message_count, create_time, update_time
from session.conversations
where tenant_id = %(tenant)s and subject = %(subject)s and (update_time, id) < (%(update_time)s, %(id)s)
order by update_time desc, id desc
limit %(limit)s
"""

SET_TITLE = """
update session.conversations
set title = %(title)s, update_time = greatest(update_time, clock_timestamp())
where tenant_id = %(tenant)s and subject = %(subject)s and id = %(id)s
returning id, title, message_count, create_time, update_time
"""

# The messages go by the foreign key.
DELETE_CONVERSATION = """
delete from session.conversations
where tenant_id = %(tenant)s and subject = %(subject)s and id = %(id)s
returning id, title, message_count, create_time, update_time
"""

APPEND_MESSAGE = """
with conversation as (
    update session.conversations
    set message_count = message_count + 1, update_time = greatest(update_time, clock_timestamp())
    where tenant_id = %(tenant)s and subject = %(subject)s and id = %(conversation_id)s
      and message_count < %(limit)s
    returning message_count, update_time
)
insert into session.messages
    (tenant_id, subject, conversation_id, sequence, id, role, text, citations, partial, size_bytes,
     create_time, request_id)
select %(tenant)s, %(subject)s, %(conversation_id)s, message_count, %(id)s, %(role)s, %(text)s,
       %(citations)s, %(partial)s, %(size_bytes)s, update_time, %(request_id)s
from conversation
returning id, conversation_id, sequence, role, text, citations, partial, create_time
"""

EARLIER_MESSAGE = """
select id, conversation_id, sequence, role, text, citations, partial, create_time
from session.messages
where tenant_id = %(tenant)s and subject = %(subject)s and request_id = %(request_id)s
"""

# The innermost query reads one range of the primary key. The sum over the sizes then ends the page before
# its texts are fetched; the first message is in, whatever its size. The outer join tells an empty
# conversation, which gives one row without a message, from none, which gives no row.
_LIST_MESSAGES = """
select conversation.message_count, message.*
from session.conversations as conversation
left join lateral (
    select id, conversation_id, sequence, role, text, citations, partial, create_time
    from (
        select *, sum(size_bytes) over (order by sequence {order}) as bytes_so_far
        from (
            select *
            from session.messages
            where tenant_id = %(tenant)s and subject = %(subject)s and conversation_id = %(id)s
              and sequence {beyond} %(start)s
            order by sequence {order}
            limit %(count)s
        ) as reached
    ) as measured
    where bytes_so_far <= %(size_bytes)s or bytes_so_far = size_bytes
) as message on true
where conversation.tenant_id = %(tenant)s and conversation.subject = %(subject)s
  and conversation.id = %(id)s
order by message.sequence {order}
"""
LIST_ASCENDING = _LIST_MESSAGES.format(order="asc", beyond=">")
LIST_DESCENDING = _LIST_MESSAGES.format(order="desc", beyond="<")

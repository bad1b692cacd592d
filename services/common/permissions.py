"""What each role may do. Every service enforces this table on its methods; policy answers from it, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ROLES = ("reader", "editor", "admin")
"""From least to most: an editor may do all that a reader may, an admin all that an editor may."""

_READER = frozenset(ROLES)
_EDITOR = frozenset({"editor", "admin"})
_ADMIN = frozenset({"admin"})

ACTIONS: Mapping[str, frozenset[str]] = {
    "audit.append": _READER,
    "audit.query": _ADMIN,
    "chat.complete": _READER,
    "conversations.read": _READER,
    "conversations.write": _READER,
    "documents.read": _READER,
    "documents.search": _READER,
    "documents.write": _EDITOR,
    "models.embed": _READER,
    "models.list": _READER,
    "operations.read": _READER,
    "policy.check": _READER,
    "policy.redact": _READER,
    "quota.read": _READER,
    "quota.reserve": _READER,
}
"""Action to the roles that may do it."""

METHODS: Mapping[str, str] = {
    "/causeway.gateway.v1.ChatService/Chat": "chat.complete",
    "/causeway.gateway.v1.ChatService/Complete": "chat.complete",
    "/causeway.gateway.v1.ChatService/Embed": "models.embed",
    "/causeway.gateway.v1.ChatService/ListModels": "models.list",
    "/causeway.policy.v1.AuditService/Append": "audit.append",
    "/causeway.policy.v1.AuditService/Query": "audit.query",
    "/causeway.policy.v1.AuthorizationService/Check": "policy.check",
    "/causeway.policy.v1.QuotaService/GetQuota": "quota.read",
    "/causeway.policy.v1.QuotaService/Reserve": "quota.reserve",
    "/causeway.policy.v1.QuotaService/Settle": "quota.reserve",
    "/causeway.policy.v1.RedactionService/Redact": "policy.redact",
    "/causeway.retrieval.v1.DocumentService/CreateDocument": "documents.write",
    "/causeway.retrieval.v1.DocumentService/DeleteDocument": "documents.write",
    "/causeway.retrieval.v1.DocumentService/GetDocument": "documents.read",
    "/causeway.retrieval.v1.DocumentService/ListDocuments": "documents.read",
    "/causeway.retrieval.v1.DocumentService/UploadDocument": "documents.write",
    "/causeway.retrieval.v1.OperationService/GetOperation": "operations.read",
    "/causeway.retrieval.v1.OperationService/ListOperations": "operations.read",
    "/causeway.retrieval.v1.OperationService/WatchOperation": "operations.read",
    "/causeway.retrieval.v1.SearchService/Search": "documents.search",
    "/causeway.session.v1.ConversationService/CreateConversation": "conversations.write",
    "/causeway.session.v1.ConversationService/DeleteConversation": "conversations.write",
    "/causeway.session.v1.ConversationService/GetConversation": "conversations.read",
    "/causeway.session.v1.ConversationService/ListConversations": "conversations.read",
    "/causeway.session.v1.ConversationService/UpdateConversation": "conversations.write",
    "/causeway.session.v1.MessageService/AppendMessage": "conversations.write",
    "/causeway.session.v1.MessageService/ListMessages": "conversations.read",
}
"""Every method of the platform and the action it takes. Each service enforces its own part of this; a test
holds the parts together. The edge decides by the whole, before a request has reached any service."""

PUBLIC_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Methods that the edge lets through without a token: how a balancer in front of it asks for health."""


def is_allowed(roles: Iterable[str], action: str) -> bool:
    """Whether one of the roles may do the action. An unknown action is allowed to nobody."""
    return not ACTIONS.get(action, frozenset()).isdisjoint(roles)

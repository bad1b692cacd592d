"""Learns a service's ids and page tokens, so that made-up requests can name what exists."""

from __future__ import annotations

from collections import defaultdict

import grpc
import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from fuzz.messages import Known, sound
from fuzz.methods import Method
from fuzz.probe import Metadata, send
from services.common.permissions import ACTIONS

ROUNDS = 3
"""Creates, then lists of what was created, then pages of those lists."""
KEPT = 8
"""Most values of one kind; a few of each suffice."""

_FIND = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def simplest(descriptor: Descriptor, known: Known) -> Message | None:
    """A small request that holds every limit; None when none was found."""
    try:
        return find(
            sound(descriptor, known),
            lambda message: not protovalidate.collect_violations(message),
            settings=_FIND,
        )
    except NoSuchExample:
        return None


async def harvest(
    channel: grpc.aio.Channel, methods: list[Method], metadata: Metadata, timeout_seconds: float
) -> Known:
    """Calls every method that takes one request a few times, and keeps what strings came back."""
    # No answer tells of these; without them every question about an action is about one that there is not.
    known: defaultdict[str, list[str]] = defaultdict(list, action=sorted(ACTIONS)[:KEPT])
    for _ in range(ROUNDS):
        for method in methods:
            request = None if method.arity.startswith("stream") else simplest(method.request, known)
            if request is None or method.descriptor.name.startswith(("Delete", "Settle")):
                continue
            if "page_size" in method.request.fields_by_name:
                request.page_size = 1  # type: ignore[attr-defined]
            answer = await send(channel, method, [request.SerializeToString()], metadata, timeout_seconds)
            for response in answer.responses:
                _keep(response, known)
    return dict(known)


def _keep(message: Message, known: defaultdict[str, list[str]]) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else [value]:
                _keep(inner, known)
        elif field.type == FieldDescriptor.TYPE_STRING and field.message_type is None:
            for name in _places(message.DESCRIPTOR.name, field.name):
                for text in value if field.is_repeated else [value]:
                    if text not in known[name] and len(known[name]) < KEPT:
                        known[name].append(text)


def _places(message: str, name: str) -> list[str]:
    """The request fields that a field of the message called ``message`` is good for."""
    if name == "id":
        return ["id", f"{message.lower()}_id", f"{message.lower()}_ids"]
    return ["page_token"] if name == "next_page_token" else [name]

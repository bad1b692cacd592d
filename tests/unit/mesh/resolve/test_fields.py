"""No field is taken and does nothing: what changes no proxy is refused, or says so in the table."""

from __future__ import annotations

import ast
from pathlib import Path

import mesh.resolve
import mesh.translate
from mesh.manifests.message import Message
from mesh.manifests.schema import schema_of
from mesh.manifests.table import messages, roots


def looked_at() -> set[str]:
    """All names after a dot in the code that makes configuration of manifests."""
    folders = [Path(folder) for module in (mesh.resolve, mesh.translate) for folder in module.__path__]
    trees = [ast.parse(file.read_text()) for folder in folders for file in folder.glob("*.py")]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_supported_field_is_looked_at_or_said_to_change_nothing() -> None:
    """By name: a field that shares its name with one that is looked at is not found out here."""
    used, read = looked_at(), set[type[Message]]()
    for root in roots():
        if root.at == "spec":
            read.update(messages(root.message))
    idle = {
        f"{message.__name__}.{field.yaml}"
        for message in read
        for field in schema_of(message).fields.values()
        if field.name not in used and field.name not in message.passed_over
    }
    assert idle == set()
    assert len(read) > 100, "the messages are found"

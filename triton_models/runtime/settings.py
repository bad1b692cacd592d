"""Settings the builder writes beside each ``model.py`` and the model reads when it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar, get_type_hints

_FILE = "settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """Where the embedder's files are and how many threads each instance runs."""

    model: Path
    tokenizer: Path
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSettings:
    """The language model and how much work it takes on."""

    model: Path
    """A GGUF chat model."""

    threads: int
    """Threads of the engine."""

    slots: int
    """Requests generated at the same time."""

    context: int
    """Tokens one request may use, prompt and answer together."""

    queue: int
    """Requests that may wait for a slot; more are refused as overloaded."""

    batch: int
    """Prompt tokens processed in one step. Between steps, cancelled prompts stop and streams move on."""

    socket: Path
    """Where the engine's own HTTP server listens (it cannot be switched off): a Unix socket, mode 0600."""

    control_tokens: tuple[str, ...]
    """Texts the model reads as control tokens; message content must not contain them as such."""


Settings = TypeVar("Settings", EmbedderSettings, GeneratorSettings)


def write_settings(folder: Path, settings: EmbedderSettings | GeneratorSettings) -> None:
    """Writes ``settings.json`` into a model's version folder."""
    (folder / _FILE).write_text(json.dumps(asdict(settings), default=str, indent=1) + "\n")


def read_settings(folder: Path, kind: type[Settings]) -> Settings:
    """Reads what ``write_settings`` wrote; raises ``KeyError`` or ``OSError`` when it is not there."""
    raw = json.loads((folder / _FILE).read_text())
    hints = get_type_hints(kind)
    values = {}
    for field in fields(kind):
        value = raw[field.name]
        if hints[field.name] is Path:
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        values[field.name] = value
    return kind(**values)

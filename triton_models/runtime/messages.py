"""Keeps a message's text from being read as the model's control tokens.

A chat template marks turns with tokens such as ``<|im_end|>``. The engine tokenises the rendered prompt as a
whole, so a user or a document that spells such a token could end its own turn and speak as the system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from triton_models.runtime.params import Message


class ControlTokenGuard:
    """Breaks up the spelling of control tokens in message content; everything else stays as it is."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        # A token of one character cannot be broken up, and would be an ordinary letter anyway.
        spellings = sorted((token for token in control_tokens if len(token) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, spellings))) if spellings else None

    def clean(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages with a space put after the first character of each control token's spelling."""
        return tuple(Message(role=item.role, content=self.clean_text(item.content)) for item in messages)

    def clean_text(self, text: str) -> str:
        """One text, the same way."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def remembered_text(messages: Sequence[Message], answer: str = "", *, continued: bool = False) -> str:
    """A conversation as one string, to compare how much of it a slot already holds.

    ``continued``: the last message is the beginning of the answer, and open.
    """
    whole = messages[:-1] if continued else messages
    turns = "".join(f"{item.role}\n{item.content}\n" for item in whole)
    if continued:
        answer = messages[-1].content + answer
    return f"{turns}assistant\n{answer}" if answer else turns

"""Errors of the inference core, each with the stable word that begins its text on the wire.

Triton carries one string per failed request. On a streamed call that string is all a client sees, so every
message begins with a word a client can match: ``invalid_argument``, ``prompt_too_long``, ``overloaded``,
``cancelled``, ``internal``.
"""

from __future__ import annotations


class ModelBuildError(Exception):
    """Model files cannot be built or trusted; the text is meant for the operator, as it is."""


class InvalidInputError(Exception):
    """One request's input is wrong; the text names the field and the rule, and is safe to show a caller."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"invalid_argument: {field}: {problem}")
        self.field = field
        self.problem = problem


class PromptTooLongError(InvalidInputError):
    """The conversation does not fit the context; a shorter one would."""

    def __init__(self, tokens: object, limit: object) -> None:
        problem = f"{tokens} tokens are more than the limit of {limit}"
        super().__init__("MESSAGES", problem)
        self.args = (f"prompt_too_long: MESSAGES: {problem}",)


class OverloadedError(Exception):
    """Too many requests already wait for the model; the same call may succeed later."""

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(f"overloaded: {waiting} requests already wait for the model (limit {limit})")


class CancelledByClientError(Exception):
    """The caller went away; nobody reads the answer any more."""

    def __init__(self) -> None:
        super().__init__("cancelled: the caller went away")


class EngineError(Exception):
    """The engine failed for a reason that is not the caller's; the text holds no prompt text."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"internal: {problem}")

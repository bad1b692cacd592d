"""Recognises a model that says that the documents do not hold the answer, in whatever words."""

from __future__ import annotations

import re

NOT_IN_DOCUMENTS = "The documents do not contain an answer to this question."
"""What the platform itself says, and what the prompt asks the model to say."""

_SOURCE = r"(?:documents?|passages?|context|texts?|excerpts?|sources?|information (?:given|provided|above))"
_NEGATION = r"(?:do|does|did|is|are|was|were|can|could)(?:\s+not|n['\u2019]t|not)"
_HOLD = (
    r"(?:contain|mention|provide|include|answer|specify|say|state|cover|discuss|address|explain|give|have|"
    r"hold|describe|tell)\w*"
)
_FOUND = r"(?:mentioned|contained|provided|specified|found|stated|covered|discussed|given|addressed|answered)"
_REFUSAL = re.compile(
    rf"\b{_SOURCE}\b[^.;]{{0,60}}?\b{_NEGATION}\s+(?:\w+\s+){{0,2}}{_HOLD}"
    rf"|\b{_NEGATION}\s+(?:\w+\s+){{0,2}}{_FOUND}\s+(?:\w+\s+){{0,3}}(?:in|by)\s+(?:\w+\s+){{0,3}}{_SOURCE}"
    rf"|\bno\s+(?:\w+\s+){{0,2}}(?:answer|information|mention)\b[^.;]{{0,60}}\b{_SOURCE}"
    rf"|\b(?:documents?|passages?) (?:have|contain|provide) no\b",
    re.IGNORECASE,
)


def says_not_in_documents(sentence: str) -> bool:
    """Whether a sentence says so."""
    return _REFUSAL.search(sentence) is not None

"""Takes from foreign text the power to speak as the system or as another person.

A chat template marks turns with control tokens such as ``<|im_start|>``, and the model's tokenizer reads them
wherever they stand: a document or a question that holds one could open a turn of its own. Before foreign text
goes into a prompt, a blank is put behind the opening bracket of anything that looks like a control token. It
is not cut out: cutting could join what stood around it into a new one (``<|im_<|x|>start|>``).

The shapes are those of the chat models that llama.cpp has templates for: ``<|…|>`` (ChatML, Llama 3, Phi,
GPT), ``<s>``, ``[INST]`` and ``<<SYS>>`` (Llama 2, Mistral), ``<start_of_turn>`` (Gemma), DeepSeek's with a
full-width bar and the code tokens of SmolLM2's vocabulary.
"""

from __future__ import annotations

import re

_NAMES = (
    r"/?s|bos|eos|pad|unk|"
    r"start_of_turn|end_of_turn|start_of_image|"
    r"/?sys|"
    r"repo_?name|file_sep|filename|gh_stars|issue_(?:start|comment|closed)|"
    r"jupyter_(?:start|text|code|output|script)|empty_output|"
    r"/?think|/?tool_call|/?tool_response|/?tools|/?passage"
)
_CONTROL = re.compile(
    rf"(<)(?=[|\uff5c]|(?:{_NAMES})\b[^<>]{{0,64}}>|</?SYS>>)"
    r"|(\[)(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+)\])",
    re.IGNORECASE,
)
_WRITTEN = re.compile(
    rf"<[|\uff5c][A-Za-z0-9_▁]{{1,32}}[|\uff5c]>|<(?:{_NAMES})>|\[/?INST\]|<</?SYS>>", re.IGNORECASE
)
_UNFINISHED = re.compile(r"<[</|\uff5cA-Za-z0-9_▁]{0,36}[|\uff5c]?$|\[/?[A-Z]{0,4}$")
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


def harmless(text: str) -> str:
    """``text`` without control tokens, control characters and characters that nobody sees."""
    return _CONTROL.sub(lambda match: f"{match[0]} ", _UNSEEN.sub("", text))


class ControlTokenFilter:
    """Takes control tokens out of the model's own words, which come in pieces."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that is safe to go on; what may be the beginning of a control token is held back."""
        text = _WRITTEN.sub("", (self._held + piece).replace("\0", ""))
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back, when nothing more comes."""
        text, self._held = self._held, ""
        return text

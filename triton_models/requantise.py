"""Rewrites a GGUF file with its weights in another quantisation.

Why at all: for some block formats llama.cpp has matrix kernels that use the CPU's vector instructions; the
others are left on a slow path. README.md has speed and perplexity of each form, and which is used.
The file format is specified in ggml's ``docs/gguf.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, ReaderTensor
from gguf.constants import LlamaFileType, TokenType
from gguf.quants import dequantize, quantize

_FILE_TYPES = {
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
}

FORMS = tuple(_FILE_TYPES)
"""Quantisations this module can write."""

_BLOCKS_OF_32 = {
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_1,
    GGMLQuantizationType.Q5_0,
    GGMLQuantizationType.Q5_1,
}
"""What is rewritten. Norms (F32) and anything already as good as Q8_0 stay as they are."""


def requantise(
    source: Path, target: Path, form: str, progress: Callable[[int, int], None]
) -> tuple[str, ...]:
    """Writes ``source``'s model to ``target`` with its 4- and 5-bit matrices in ``form``.

    Metadata (tokenizer, chat template, hyper-parameters) is carried over unchanged. ``progress`` is told how
    many tensors are done. Returns the model's control tokens: reading them again would take a second.
    Raises ``ValueError`` for an unknown form or a file that is not GGUF.
    """
    if form not in _FILE_TYPES:
        raise ValueError(f"unknown quantisation {form!r}; known: {', '.join(FORMS)}")
    reader = GGUFReader(source)
    writer = GGUFWriter(target, _architecture(reader))
    _copy_metadata(reader, writer, form)
    for index, tensor in enumerate(reader.tensors):
        _add_tensor(writer, tensor, GGMLQuantizationType[form])
        progress(index + 1, len(reader.tensors))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return _control_tokens(reader)


def _architecture(reader: GGUFReader) -> str:
    field = reader.get_field("general.architecture")
    if field is None:
        raise ValueError("the file names no general.architecture; it is not a model")
    return str(field.contents())


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, form: str) -> None:
    for name, field in reader.fields.items():
        # GGUF.* describes the file itself, and the writer adds the architecture on its own.
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if name == "general.file_type":
            writer.add_file_type(_FILE_TYPES[form])
        elif field.types[0] == GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), field.types[0])


def _add_tensor(writer: GGUFWriter, tensor: ReaderTensor, kind: GGMLQuantizationType) -> None:
    if tensor.tensor_type in _BLOCKS_OF_32:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)


def control_tokens(file: Path) -> tuple[str, ...]:
    """The spellings of the model's control tokens. Raises ``ValueError`` when it is not a GGUF model."""
    reader = GGUFReader(file)
    _architecture(reader)
    return _control_tokens(reader)


def _control_tokens(reader: GGUFReader) -> tuple[str, ...]:
    tokens = reader.get_field("tokenizer.ggml.tokens")
    types = reader.get_field("tokenizer.ggml.token_type")
    if tokens is None or types is None:
        return ()
    kinds = types.contents()
    return tuple(tokens.contents(index) for index, kind in enumerate(kinds) if kind == TokenType.CONTROL)

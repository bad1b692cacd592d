"""The embedder as a Triton model: TEXT BYTES[1] in, EMBEDDING FP32[384] out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from triton_models.errors import InvalidInputError
from triton_models.runtime.backend import Backend, Request, float_tensor, load_backend, version_folder
from triton_models.runtime.embedder import Embedder, decode_text
from triton_models.runtime.openmp import EMBEDDER_NICENESS
from triton_models.runtime.settings import EmbedderSettings, read_settings


class EmbedderModel:
    """Joins the requests Triton batched into one run; a bad request fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the encoder named in the settings beside ``model.py``."""
        settings = read_settings(version_folder(args), EmbedderSettings)
        # Before any thread is made: threads inherit it.
        os.nice(EMBEDDER_NICENESS)
        self._backend: Backend = load_backend()
        self._embedder = Embedder(settings.model, settings.tokenizer, settings.threads)
        # The first run allocates; do it before the model reports ready.
        self._embedder.embed(["warm up"])

    def execute(self, requests: Sequence[Request]) -> list[Any]:
        """One response per request, in order."""
        texts: list[str] = []
        spans: list[slice | InvalidInputError] = []
        for request in requests:
            try:
                own = self._texts(request)
            except InvalidInputError as error:
                spans.append(error)
                continue
            spans.append(slice(len(texts), len(texts) + len(own)))
            texts.extend(own)
        vectors = self._embedder.embed(texts)
        return [self._response(span, vectors) for span in spans]

    def _texts(self, request: Request) -> list[str]:
        tensor = self._backend.get_input_tensor_by_name(request, "TEXT")
        if tensor is None:
            raise InvalidInputError("TEXT", "is missing")
        return [decode_text(raw) for raw in tensor.as_numpy().reshape(-1)]

    def _response(self, span: slice | InvalidInputError, vectors: npt.NDArray[np.float32]) -> Any:
        if isinstance(span, InvalidInputError):
            error = self._backend.TritonError(str(span), self._backend.TritonError.INVALID_ARG)
            return self._backend.InferenceResponse([], error)
        return self._backend.InferenceResponse([float_tensor(self._backend, "EMBEDDING", vectors[span])])

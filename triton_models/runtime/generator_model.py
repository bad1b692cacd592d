"""The generator as a Triton model: MESSAGES and PARAMS in, a stream of TEXT, then FINISH_REASON and USAGE."""

from __future__ import annotations

from collections.abc import Sequence

from triton_models.errors import InvalidInputError, OverloadedError
from triton_models.runtime.backend import Backend, Request, load_backend, one_value, version_folder
from triton_models.runtime.engine import Engine
from triton_models.runtime.generator import Generator
from triton_models.runtime.metrics import GeneratorMetrics
from triton_models.runtime.reply import TritonReply
from triton_models.runtime.settings import GeneratorSettings, read_settings


class GeneratorModel:
    """Hands every request to the generator and returns at once; answers come from its threads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the language model named in the settings beside ``model.py``."""
        settings = read_settings(version_folder(args), GeneratorSettings)
        self._backend: Backend = load_backend()
        self._metrics = GeneratorMetrics(self._backend)
        self._generator = Generator(Engine(settings), settings)
        self._generator.open()

    def execute(self, requests: Sequence[Request]) -> None:
        """Queues the requests, or refuses them with a reason."""
        for request in requests:
            reply = TritonReply(self._backend, request.get_response_sender(), self._metrics.ended)
            try:
                messages = one_value(self._backend, request, "MESSAGES")
                params = one_value(self._backend, request, "PARAMS")
                self._generator.submit(messages, params, reply)
            except (InvalidInputError, OverloadedError) as error:
                reply.fail(error)

    def finalize(self) -> None:
        """Ends the generator's threads."""
        self._generator.close()

"""Triton's entry point of the synthetic; the logic is in triton_models.runtime."""

import os
import sys

# The stub runs Python isolated, which ignores PYTHONPATH; an installed package is found without it.
sys.path.extend(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))

from triton_models.runtime.synthetic_model import SyntheticModel as TritonPythonModel

__all__ = ["TritonPythonModel"]

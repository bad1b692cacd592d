"""Writes all-MiniLM-L6-v2 as an ONNX graph, straight from its weights.

The graph takes token ids and a mask and gives unit-length sentence vectors: encoder, mean pooling and L2
normalisation are one graph, so nothing is left to do in Python after it. Layout and numerics follow
Devlin et al., "BERT" (2018) and Reimers and Gurevych, "Sentence-BERT" (2019).

ONNX Runtime's fused operators (domain ``com.microsoft``) are used where they exist; README.md records what
they gain over the plain ones. They are specified in ONNX Runtime's ``docs/ContribOperators.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 384
"""Width of the sentence vector."""

_LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12
_CONTRIB = "com.microsoft"
_OPSET = 17
_IR_VERSION = 8

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(slots=True)
class _Graph:
    """Nodes and constants in the making; ``op`` returns the name of the node's first output."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, onnx.TensorProto]

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Adds a constant tensor and returns its name."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def op(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output and returns that output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output


def sentence_encoder(weights: Weights, progress: Callable[[int, int], None]) -> bytes:
    """The serialised ONNX model.

    Inputs: ``input_ids`` and ``attention_mask``, both int32 of shape (batch, sequence), both axes dynamic;
    padding is on the right. Output: ``sentence_embedding``, float32 of shape (batch, 384), of length 1.

    ``progress`` is told how many of the encoder's layers are written.
    """
    graph = _Graph(nodes=[], constants={})
    hidden, lengths = _embeddings(graph, weights)
    for layer in range(_LAYERS):
        hidden = _layer(graph, weights, layer, hidden, lengths)
        progress(layer + 1, _LAYERS)
    _mean_pool(graph, hidden)
    return _serialise(graph)


def _embeddings(graph: _Graph, weights: Weights) -> tuple[str, str]:
    """Token and position embeddings, normalised; also the number of real tokens per row, for the mask."""
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    # Every token has type 0 here, so that row joins the position table and saves one addition per token.
    types = weights["embeddings.token_type_embeddings.weight"]
    positions = graph.constant("positions", weights["embeddings.position_embeddings.weight"] + types[0])
    gamma = graph.constant("embeddings.gamma", weights["embeddings.LayerNorm.weight"])
    beta = graph.constant("embeddings.beta", weights["embeddings.LayerNorm.bias"])
    graph.nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            ["input_ids", "", words, positions, "", gamma, beta, "attention_mask"],
            ["embeddings", "lengths"],
            name="embeddings",
            domain=_CONTRIB,
            epsilon=_EPSILON,
        )
    )
    return "embeddings", "lengths"


def _layer(graph: _Graph, weights: Weights, index: int, hidden: str, lengths: str) -> str:
    """One encoder layer: self-attention and the feed-forward network, each with its residual norm."""
    source = f"encoder.layer.{index}"
    name = f"layer{index}"

    def dense(path: str, target: str) -> tuple[str, str]:
        weight = graph.constant(f"{target}.weight", weights[f"{source}.{path}.weight"].T)
        return weight, graph.constant(f"{target}.bias", weights[f"{source}.{path}.bias"])

    def norm(path: str, value: str, residual: str, bias: str, target: str) -> str:
        gamma = graph.constant(f"{target}.gamma", weights[f"{source}.{path}.weight"])
        beta = graph.constant(f"{target}.beta", weights[f"{source}.{path}.bias"])
        inputs = [value, residual, gamma, beta, bias]
        return graph.op("SkipLayerNormalization", inputs, target, _CONTRIB, epsilon=_EPSILON)

    projections = [f"{source}.attention.self.{part}" for part in ("query", "key", "value")]
    qkv = graph.constant(
        f"{name}.qkv", np.concatenate([weights[f"{p}.weight"].T for p in projections], axis=1)
    )
    qkv_bias = graph.constant(f"{name}.qkv_bias", np.concatenate([weights[f"{p}.bias"] for p in projections]))
    attended = graph.op(
        "Attention", [hidden, qkv, qkv_bias, lengths], f"{name}.attended", _CONTRIB, num_heads=_HEADS
    )
    weight, bias = dense("attention.output.dense", f"{name}.projection")
    projected = graph.op("MatMul", [attended, weight], f"{name}.projected")
    hidden = norm("attention.output.LayerNorm", projected, hidden, bias, f"{name}.attention_norm")

    weight, bias = dense("intermediate.dense", f"{name}.up")
    widened = graph.op("MatMul", [hidden, weight], f"{name}.widened")
    activated = graph.op("BiasGelu", [widened, bias], f"{name}.activated", _CONTRIB)
    weight, bias = dense("output.dense", f"{name}.down")
    narrowed = graph.op("MatMul", [activated, weight], f"{name}.narrowed")
    return norm("output.LayerNorm", narrowed, hidden, bias, f"{name}.output_norm")


def _mean_pool(graph: _Graph, hidden: str) -> None:
    """The mean over the real tokens, scaled to length 1."""
    axis = graph.constant("pool.axis", np.array([1], np.int64))
    tiny = graph.constant("pool.tiny", np.array(_EPSILON, np.float32))
    mask = graph.op("Cast", ["attention_mask"], "pool.mask", to=TensorProto.FLOAT)
    mask = graph.op("Unsqueeze", [mask, axis], "pool.row")  # (batch, 1, sequence)
    summed = graph.op("MatMul", [mask, hidden], "pool.summed")  # (batch, 1, hidden)
    summed = graph.op("Squeeze", [summed, axis], "pool.sum")
    # The mean's divisor cancels in the normalisation that follows, so only the direction is computed.
    norm = graph.op("ReduceL2", [summed], "pool.norm", axes=[-1], keepdims=1)
    norm = graph.op("Max", [norm, tiny], "pool.norm_positive")
    graph.op("Div", [summed, norm], "sentence_embedding")


def _serialise(graph: _Graph) -> bytes:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "sequence"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["batch", "sequence"])
    out = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", HIDDEN])
    proto = helper.make_graph(
        graph.nodes, "sentence_encoder", [ids, mask], [out], list(graph.constants.values())
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="causeway")
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised

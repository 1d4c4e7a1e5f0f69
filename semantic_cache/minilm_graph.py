"""The model as an ONNX graph: from the pieces of one text to its vector, and the vectors of the pieces.

BERT's forward pass (Devlin et al., NAACL 2019, section 3) without padding, mask or second segment, since every text is
run alone. Matrices are int8 with one step for each output channel, activations are quantized as they come, with one
step for the whole text (dynamic quantization, Jacob et al., CVPR 2018, section 2.1; Zafrir et al., Q8BERT, 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_cache.minilm_weights import DIMENSION, HEADS, LAYERS, Weights

RECIPE = 1
"""Goes up whenever the same weights would become another graph."""
MOST_PIECES = 256
PIECES, VECTOR, PIECE_VECTORS = "pieces", "vector", "piece_vectors"
_FUSED = "com.microsoft"  # ONNX Runtime's own operators, each several in one
_EPSILON = 1e-12
_MATRIX_STEPS = 63  # 7 bits: without VNNI, pairs of products are added in 16 bits, which 8 bits would saturate
_TABLE_STEPS = 127


def build(weights: Weights) -> bytes:
    """Its input is `pieces`, int64 [piece]; its outputs `vector`, float32 [dimension] of length 1, and
    `piece_vectors`, float32 [piece, dimension], of any length. At most MOST_PIECES pieces.
    """
    graph = _Graph(weights)
    states = graph.embedded()
    for layer in range(LAYERS):
        states = graph.layer(f"encoder.layer.{layer}.", states)
    return graph.finished(states)


class _Graph:
    """Its nodes and constants, as they are written down. Values are known by their names."""

    def __init__(self, weights: Weights) -> None:
        import onnx

        self._onnx = onnx
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._first_axis = self._constant(np.zeros(1, np.int64))
        self._three_parts = self._constant(np.full(3, DIMENSION, np.int64))

    def embedded(self) -> str:
        """Word, position and segment, normalized. [piece, dimension]"""
        at = "embeddings."
        words, step = _quantized(self._weights[at + "word_embeddings.weight"], _TABLE_STEPS)
        segment = self._weights[at + "token_type_embeddings.weight"][0]
        places = self._constant((self._weights[at + "position_embeddings.weight"] + segment)[:MOST_PIECES])
        word = self._add("Cast", self._add("Gather", self._constant(words), PIECES), to=self._onnx.TensorProto.FLOAT)
        word = self._add("Mul", word, self._add("Gather", self._constant(step), PIECES))
        place = self._add("Slice", places, self._first_axis, self._add("Shape", PIECES))
        return self._normalized(at + "LayerNorm", self._add("Add", word, place))

    def layer(self, at: str, states: str) -> str:
        """Attention, then the feed-forward network; each is added to what goes into it. [piece, dimension]"""
        attended = self._product([at + "attention.output.dense"], self._attention(at + "attention.self.", states))
        states = self._normalized(at + "attention.output.LayerNorm", self._add("Add", attended, states))
        inner = self._add("Gelu", self._product([at + "intermediate.dense"], states))
        outer = self._product([at + "output.dense"], inner)
        return self._normalized(at + "output.LayerNorm", self._add("Add", outer, states))

    def finished(self, states: str) -> bytes:
        """The mean of the pieces, of length 1, and they themselves."""
        self._add("Identity", states, output=PIECE_VECTORS)
        mean = self._add("ReduceMean", states, self._first_axis, keepdims=0)
        self._add("LpNormalization", mean, output=VECTOR, axis=0, p=2)
        helper, proto = self._onnx.helper, self._onnx.TensorProto
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info(PIECES, proto.INT64, ["piece"])],
            [
                helper.make_tensor_value_info(VECTOR, proto.FLOAT, [DIMENSION]),
                helper.make_tensor_value_info(PIECE_VECTORS, proto.FLOAT, ["piece", DIMENSION]),
            ],
            self._constants,
        )
        sets = [helper.make_opsetid("", 20), helper.make_opsetid(_FUSED, 1)]
        content: bytes = helper.make_model(graph, opset_imports=sets, ir_version=10).SerializeToString()
        return content

    def _attention(self, at: str, states: str) -> str:
        """Of all pieces to all, with queries, keys and values from one product."""
        projected = self._product([at + part for part in ("query", "key", "value")], states)
        batch = self._add("Unsqueeze", projected, self._first_axis)
        parts = self._several("Split", 3, batch, self._three_parts, axis=2)
        attended = self._add("MultiHeadAttention", *parts, domain=_FUSED, num_heads=HEADS)
        return self._add("Squeeze", attended, self._first_axis)

    def _normalized(self, at: str, states: str) -> str:
        """Not fused with the addition before it: that operator takes three times as long as both."""
        scale, shift = (self._constant(self._weights[at + end]) for end in (".weight", ".bias"))
        return self._add("LayerNormalization", states, scale, shift, axis=-1, epsilon=_EPSILON)

    def _product(self, at: Sequence[str], states: str) -> str:
        """With the matrices of those names, side by side, and their biases."""
        matrix, bias = (np.concatenate([self._weights[name + end] for name in at]) for end in (".weight", ".bias"))
        steps, step = _quantized(matrix, _MATRIX_STEPS)
        constants = self._constant(steps.T), self._constant(step[:, 0]), "", self._constant(bias)
        return self._add("DynamicQuantizeMatMul", states, *constants, domain=_FUSED)

    def _constant(self, array: NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        (name,) = self._several(operator, 1, *inputs, output=output, **attributes)
        return name

    def _several(self, operator: str, num_outputs: int, *inputs: str, output: str = "", **attributes: Any) -> list[str]:
        outputs = [output or f"value_{len(self._nodes)}_{number}" for number in range(num_outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, outputs, **attributes))
        return outputs


def _quantized(rows: NDArray[np.float32], most: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Each row as integers in [-most, most] and its step: [row, channel], [row, 1]."""
    step = np.abs(rows).max(axis=1, keepdims=True) / np.float32(most)
    return np.rint(rows / step).astype(np.int8), step

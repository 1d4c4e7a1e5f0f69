"""all-MiniLM-L6-v2 in plain torch and float32: what the graph in int8 is measured against."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from semantic_cache.minilm_weights import DIMENSION, HEADS, LAYERS, Weights


class PlainMiniLM:
    """BERT's forward pass as Devlin et al. (NAACL 2019) have it; of one text."""

    def __init__(self, weights: Weights) -> None:
        self._weights = {name: torch.from_numpy(array) for name, array in weights.items()}

    @torch.inference_mode()
    def vector(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The mean of the last layer's states, of length 1: [dimension]."""
        mean = self.states(ids).mean(0)
        vector: NDArray[np.float32] = (mean / mean.norm()).numpy()
        return vector

    @torch.inference_mode()
    def states(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """Of the last layer: [piece, dimension]."""
        tables = [self._weights[f"embeddings.{of}_embeddings.weight"] for of in ("word", "position", "token_type")]
        states = tables[0][torch.from_numpy(ids)] + tables[1][: len(ids)] + tables[2][0]
        states = self._normalized("embeddings.LayerNorm", states)
        for layer in range(LAYERS):
            states = self._layer(f"encoder.layer.{layer}.", states)
        return states

    def _layer(self, at: str, states: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            self._linear(f"{at}attention.self.{part}", states).view(len(states), HEADS, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        attended = scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(len(states), DIMENSION)
        attended = self._linear(f"{at}attention.output.dense", attended)
        states = self._normalized(f"{at}attention.output.LayerNorm", attended + states)
        outer = self._linear(f"{at}output.dense", gelu(self._linear(f"{at}intermediate.dense", states)))
        return self._normalized(f"{at}output.LayerNorm", outer + states)

    def _linear(self, at: str, states: torch.Tensor) -> torch.Tensor:
        return linear(states, self._weights[f"{at}.weight"], self._weights[f"{at}.bias"])

    def _normalized(self, at: str, states: torch.Tensor) -> torch.Tensor:
        return layer_norm(states, (DIMENSION,), self._weights[f"{at}.weight"], self._weights[f"{at}.bias"], 1e-12)

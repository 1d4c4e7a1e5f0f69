"""A host of its own: transformers on a tiny model, its store as the environment says."""

import torch

from connectors.hf import CachedModel
from tests.connectors.hf.steps import GREEDY
from tests.connectors.hf.tiny import prompt, tiny_model

CONTEXT = prompt(40)
WHOLE = torch.cat([CONTEXT, prompt(9, seed=2)], dim=1)


def main():
    with CachedModel.open(tiny_model("llama")) as cached:
        cached.generate(WHOLE, **GREEDY)


if __name__ == "__main__":
    main()

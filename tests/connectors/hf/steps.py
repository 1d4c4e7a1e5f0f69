"""What generation gives without the store, in the same steps as with it."""

import copy

import torch
from transformers import DynamicCache

GREEDY = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}


@torch.no_grad()
def computed(model, token_ids):
    """A stock cache holding `token_ids` `[1, n]`, computed in one pass."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    model(input_ids=token_ids, past_key_values=cache, use_cache=True)
    return cache


def two_steps(model, prefix, whole, **options):
    """Generation from `whole` after computing `prefix` first: prefix reuse inside one process."""
    cache = copy.deepcopy(computed(model, prefix))
    return model.generate(whole, past_key_values=cache, **{**GREEDY, **options})

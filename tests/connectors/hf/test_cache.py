"""The growing cache shows attention exactly what the stock cache would, through any sequence of steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, MistralConfig

from connectors.hf.cache import StoreCache

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 7)),
        st.tuples(st.just("repeat"), st.just(2)),
        st.tuples(st.just("reorder"), st.integers(0, 5)),
        st.tuples(st.just("select"), st.integers(0, 5)),
    ),
    max_size=8,
)


def config(window):
    return MistralConfig(num_hidden_layers=2, sliding_window=window)


@given(window=st.sampled_from([None, 2, 5, 50]), steps=STEPS, room=st.integers(0, 9))
def test_growing_and_stock_layers_agree(window, steps, room):
    stock, ours = DynamicCache(config=config(window)), StoreCache(config(window), room)
    rows = 1
    for step, amount in [("append", 3), *steps]:
        if step == "append":
            keys, values = torch.randn(rows, 2, amount, 4), torch.randn(rows, 2, amount, 6)
            for layer in range(2):
                assert stock.get_mask_sizes(amount, layer) == ours.get_mask_sizes(amount, layer)
                expected, shown = stock.update(keys, values, layer), ours.update(keys, values, layer)
                assert torch.equal(shown[0], expected[0])
                assert torch.equal(shown[1], expected[1])
        elif step == "repeat" and rows < 4:
            rows *= 2
            for cache in (stock, ours):
                cache.batch_repeat_interleave(2)
        elif step in ("reorder", "select"):
            index = torch.tensor([(amount + row) % rows for row in range(rows)])
            for cache in (stock, ours):
                cache.reorder_cache(index) if step == "reorder" else cache.batch_select_indices(index)
        assert stock.get_seq_length() == ours.get_seq_length()


def test_what_was_read_stays_as_it_was_while_the_cache_grows():
    cache = StoreCache(config(None), room=2)
    cache.update(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4), 0)
    keys, _ = cache.layers[0].history()
    before = keys.clone()
    for _ in range(20):
        cache.update(torch.full((1, 2, 1, 4), 9.0), torch.full((1, 2, 1, 4), 9.0), 0)
    assert torch.equal(keys, before)


@pytest.mark.parametrize("window", [None, 3])
def test_reset_starts_over(window):
    cache = StoreCache(config(window), room=2)
    for _ in range(2):
        states = torch.randn(1, 2, 5, 4)
        shown, _ = cache.update(states, states, 0)
        assert torch.equal(shown, states)
        cache.reset()

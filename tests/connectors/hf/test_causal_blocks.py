"""Attention in blocks comes out as torch's own, on the prompts' chosen tokens and nowhere else."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from connectors.hf.causal_blocks import CausalBlocks

NUM_KEYS = 400


def inputs(columns, heads=3, dim=8):
    chosen = torch.Generator().manual_seed(0)
    shapes = (len(columns), NUM_KEYS, NUM_KEYS)
    query, key, value = (torch.randn(1, heads, length, dim, generator=chosen) for length in shapes)
    mask = torch.zeros(1, 1, len(columns), NUM_KEYS)
    return query, key, value, mask.masked_fill_(torch.arange(NUM_KEYS) > columns[:, None], -1e30)


@pytest.mark.parametrize("count", [1, 128, 129, NUM_KEYS])
def test_blocks_come_out_as_one(count):
    columns = torch.randperm(NUM_KEYS, generator=torch.Generator().manual_seed(1))[:count].sort().values
    query, key, value, mask = inputs(columns)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with CausalBlocks(lambda: columns):
        got = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(got, expected)


def test_keys_behind_a_block_are_never_looked_at():
    columns = torch.arange(0, NUM_KEYS, 2)
    query, key, value, mask = inputs(columns)
    key[:, :, 399] = torch.nan
    with CausalBlocks(lambda: columns):
        got = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert not got.isnan().any()


def test_other_attention_is_left_alone():
    columns = torch.arange(5)
    query, key, value, mask = inputs(torch.arange(7))
    with CausalBlocks(lambda: columns):
        got = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        causal = scaled_dot_product_attention(key, key, value, is_causal=True)
    torch.testing.assert_close(got, scaled_dot_product_attention(query, key, value, attn_mask=mask))
    torch.testing.assert_close(causal, scaled_dot_product_attention(key, key, value, is_causal=True))

"""KVArray holds what its spec says, and shares memory with what it was made of."""

from dataclasses import replace

import pytest
import torch

from codec import KVArray, SpecMismatch
from tests.kv import SPEC, kv_of_numbers, tensors


def test_tokens_are_views_and_share_memory():
    kv = kv_of_numbers(SPEC, 10)
    part = kv.tokens(3, 7)
    assert part.num_tokens == 4
    for whole, view in zip(tensors(kv), tensors(part), strict=True):
        assert view.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        view.fill_(1.0)
        assert (whole[:, 3:7] == 1.0).all()


def test_nothing_is_copied_on_construction():
    kv = kv_of_numbers(SPEC, 3)
    again = KVArray(SPEC, kv.keys, kv.values)
    assert all(one is other for one, other in zip(tensors(kv), tensors(again), strict=True))


def test_num_bytes_is_what_the_tensors_take():
    kv = KVArray.empty(SPEC, 7)
    assert kv.num_bytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors(kv))


@pytest.mark.parametrize("part", [(-1, 2), (3, 2), (0, 11), (11, 11)])
def test_tokens_outside_of_the_array_are_a_value_error(part):
    with pytest.raises(ValueError, match="outside of"):
        kv_of_numbers(SPEC, 10).tokens(*part)


def test_an_empty_range_of_tokens_is_an_empty_array():
    assert kv_of_numbers(SPEC, 10).tokens(4, 4).num_tokens == 0


WRONG_KEYS = {
    "another head count": lambda keys: keys[:1],
    "another dim": lambda keys: keys[..., :-1],
    "another number of tokens": lambda keys: keys[:, :-1],
    "another dtype of the same width": lambda keys: keys.half(),
    "another width": lambda keys: keys.float(),
    "integers": lambda keys: keys.view(torch.int16),
    "a flat tensor": lambda keys: keys.flatten(),
    "an axis too many": lambda keys: keys[None],
    "a scalar": lambda keys: keys.sum(),
}


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("change", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_tensor_that_the_spec_does_not_describe_is_a_spec_mismatch(change, layer):
    kv = kv_of_numbers(SPEC, 4)
    for field in ("keys", "values"):
        layers = list(getattr(kv, field))
        layers[layer] = change(layers[layer])
        with pytest.raises(SpecMismatch):
            replace(kv, **{field: tuple(layers)})


def test_a_layer_too_few_or_too_many_is_a_spec_mismatch():
    kv = kv_of_numbers(SPEC, 4)
    for keys, values in (
        ((), ()),
        (kv.keys[:2], kv.values[:2]),
        (kv.keys, kv.values[:2]),
        (kv.keys * 2, kv.values * 2),
    ):
        with pytest.raises(SpecMismatch):
            KVArray(SPEC, keys, values)

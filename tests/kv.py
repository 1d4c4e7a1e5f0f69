"""KV arrays for tests: small specs, and numbers or bits that a seed decides."""

import numpy as np
import torch
from hypothesis import strategies as st

from codec import KVArray, KVSpec, LayerGroup

TWO_GROUPS = (
    LayerGroup((0, 2), kv_heads=2, key_dim=8, value_dim=4, rotary={"rope_theta": 10000.0}),
    LayerGroup((1,), kv_heads=1, key_dim=6, value_dim=6, window=16),
)
SPEC = KVSpec("tests/tiny", "0" * 40, "bfloat16", TWO_GROUPS)

_BITS = {"bfloat16": (np.uint16, 7), "float16": (np.uint16, 10), "float32": (np.uint32, 23)}


@st.composite
def specs(draw):
    """Specs of one to four layers in one or two groups, in every dtype."""
    group_of = draw(st.lists(st.integers(0, 1), min_size=1, max_size=4))
    sizes = st.integers(1, 9)
    groups = tuple(
        LayerGroup(
            tuple(layer for layer, group in enumerate(group_of) if group == number),
            kv_heads=draw(st.integers(1, 3)),
            key_dim=draw(sizes),
            value_dim=draw(sizes),
            window=draw(st.none() | sizes),
            rotary=draw(st.dictionaries(st.text(max_size=3), st.integers() | st.floats(-1e6, 1e6))),
        )
        for number in sorted(set(group_of))
    )
    return KVSpec(draw(st.text(max_size=5)), "r", draw(st.sampled_from(sorted(_BITS))), groups)


def special_bits(dtype):
    """Both zeros, both infinities, quiet and signalling NaN, smallest and largest subnormal of a dtype."""
    unsigned, mantissa_bits = _BITS[dtype]
    width = 8 * np.dtype(unsigned).itemsize
    sign, one = 1 << (width - 1), 1
    infinity = (one << (width - 1)) - (one << mantissa_bits)
    quiet = infinity | 1 << (mantissa_bits - 1)
    largest_subnormal = (1 << mantissa_bits) - 1
    bits = [0, sign, infinity, sign | infinity, quiet, sign | quiet | 1, infinity | 1, 1, sign | 1, largest_subnormal]
    return np.array(bits, unsigned)


def kv_of_any_bits(spec, num_tokens, seed=0):
    """KV whose numbers are uniformly random bits: NaN payloads, infinities and subnormals among them."""
    random, special = np.random.default_rng(seed), special_bits(spec.dtype)

    def tensor(empty):
        bits = random.integers(0, np.iinfo(special.dtype).max, empty.shape, special.dtype, endpoint=True)
        bits = np.where(random.random(empty.shape) < 0.1, random.choice(special, empty.shape), bits)
        return torch.from_numpy(bits.view(bits.dtype.str.replace("u", "i"))).view(empty.dtype)

    return mapped(tensor, KVArray.empty(spec, num_tokens))


def kv_of_numbers(spec, num_tokens, seed=0, scale=1.0):
    """KV as a model makes it, roughly: Gaussian, every channel with a mean of its own."""
    random = np.random.default_rng(seed)

    def tensor(empty):
        heads, _, dim = empty.shape
        numbers = scale * (random.standard_normal(empty.shape) + random.normal(0, 4, (heads, 1, dim)))
        return torch.from_numpy(numbers).to(empty.dtype)

    return mapped(tensor, KVArray.empty(spec, num_tokens))


def mapped(change, kv):
    """KV with every tensor of `kv` put through `change`."""
    return KVArray(kv.spec, tuple(map(change, kv.keys)), tuple(map(change, kv.values)))


def tensors(kv):
    """Every tensor of a KV array: layer by layer, keys before values."""
    return [tensor for layer in zip(kv.keys, kv.values, strict=True) for tensor in layer]


def bits(kv):
    """Everything that is in a KV array, for comparing: NaN equals itself and -0.0 is not 0.0."""
    return [tensor.contiguous().view(torch.uint8).numpy().tobytes() for tensor in tensors(kv)]


def kv_of_mostly_numbers(spec, num_tokens, seed=0):
    """`kv_of_numbers`, but one token is -0, and a channel of each tensor has `kv_of_any_bits`."""
    kv, odd = kv_of_numbers(spec, num_tokens, seed), kv_of_any_bits(spec, num_tokens, seed)
    for tensor, odd_tensor in zip(kv.keys + kv.values, odd.keys + odd.values, strict=True):
        tensor[:, num_tokens // 2] = -0.0
        tensor[-1, :, -1] = odd_tensor[-1, :, -1]
    return kv

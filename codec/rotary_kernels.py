"""Keys and values from rows of channels to where they belong, and rotary embeddings on the way, by numba.

Compiled on first use. It trusts its arguments.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def put_on(x: np.ndarray, first: int, cos: np.ndarray, sin: np.ndarray, out: np.ndarray) -> None:
    """Fills float32 `out` `[head, token, dim]` with the channels of `x` `[token, channel]` from `first` on.

    Channel pairs (i, i + pairs) of a head are turned, by the angles of which `cos` and `sin` `[token, pair]` are.
    """
    heads, num_tokens, dim = out.shape
    pairs = cos.shape[1]
    for head in range(heads):
        begin = first + head * dim
        for token in range(num_tokens):
            row, turned = x[token, begin : begin + dim], out[head, token]
            for i in range(pairs):
                turned[i] = row[i] * cos[token, i] - row[pairs + i] * sin[token, i]
                turned[pairs + i] = row[pairs + i] * cos[token, i] + row[i] * sin[token, i]
            for i in range(2 * pairs, dim):
                turned[i] = row[i]

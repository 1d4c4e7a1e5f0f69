"""Tensors as their bits: the one place where torch's floats are seen as numpy's integers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_SAME_WIDTH = {2: (torch.int16, np.uint16), 4: (torch.int32, np.uint32)}


def bits_of(tensor: torch.Tensor) -> np.ndarray:
    """The bits of a 2- or 4-byte float tensor as uint16 or uint32, same shape; shares memory on the CPU."""
    as_int, unsigned = _SAME_WIDTH[tensor.element_size()]
    return tensor.detach().cpu().view(as_int).numpy().view(unsigned)


@contextmanager
def words_to_write(out: torch.Tensor) -> Iterator[np.ndarray]:
    """The bits of a float tensor, as `bits_of`, for the body to fill: strided as `out` is.

    On the CPU they are the tensor's own; elsewhere they are copied over when the body is done.
    """
    if out.device.type == "cpu":
        yield bits_of(out)
    else:
        as_int, unsigned = _SAME_WIDTH[out.element_size()]
        words = torch.empty(out.shape, dtype=as_int)
        yield words.numpy().view(unsigned)
        out.copy_(words.view(out.dtype))

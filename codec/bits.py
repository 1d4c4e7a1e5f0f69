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
def bytes_to_write(out: torch.Tensor) -> Iterator[np.ndarray]:
    """The bytes of a float tensor, uint8 `[*out.shape, width]`, little-endian, for the body to fill.

    On the CPU they are the tensor's own; elsewhere they are copied over when the body is done.
    """
    if out.device.type == "cpu":
        yield bits_of(out)[..., None].view(np.uint8)
    else:
        as_int, _ = _SAME_WIDTH[out.element_size()]
        planes = np.empty((*out.shape, out.element_size()), np.uint8)
        yield planes
        out.copy_(torch.from_numpy(planes).view(as_int)[..., 0].view(out.dtype))

"""DeviceFrame: a frame in a device's memory, its header here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from codec.errors import CorruptFrame
from codec.frame import FrameHeader

HAS_TRITON = find_spec("triton") is not None
"""Without it entropy-coded sections are decoded by the host alone."""


@dataclass(frozen=True, eq=False)
class DeviceFrame:
    """`data` are the bytes of a whole frame, uint8 `[byte]`, on any device; `header` is theirs.

    Every section was verified on the host before it went there, and is not verified again: from then on its bytes
    are trusted, as the KV in the same memory is. What they say is not: decoders check it as they do on the host.
    """

    header: FrameHeader
    data: torch.Tensor

    def __len__(self) -> int:
        """Bytes of the frame."""
        return len(self.data)

    def section(self, name: str, dtype: np.dtype[Any] | type, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """As `Frame.section`, on the device and unverified. Whoever writes to it writes to the frame."""
        section = self.header.sections.get(name)
        if section is None:
            raise CorruptFrame(f"section {name!r} is missing")
        section.require(name, dtype, shape)
        raw = self.data[section.start : section.end]
        if raw.storage_offset() % section.dtype.itemsize:
            raw = raw.clone()
        return raw.view(torch.from_numpy(np.empty(0, section.dtype)).dtype).view(section.shape)

"""Refinements of progressive frames, as `codec.refinement` packs them, read in device memory: all bands' at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from codec.column_codes_device import DeviceColumns, Packed
from codec.column_tables import NUM_EXPECTATIONS, NUM_SHAPES, scale_of_expectation
from codec.emphasis import MOST
from codec.errors import CorruptFrame
from codec.rans_gpu import Stream, decode_streams
from codec.refinement import COUNT, DOUBT, HALF, HIGHEST_SCALE, LOWEST_SCALE, OFF_MIDDLE, PER_STAGE, zero_tables

_NUM_SCALES = HIGHEST_SCALE - LOWEST_SCALE


@dataclass
class DeviceCells:
    """As `codec.refinement.Cells`, and `whole`: where the components are, float32 `[row, column]` in first steps."""

    is_zero: torch.Tensor
    is_wide: torch.Tensor
    scales: torch.Tensor
    classes: torch.Tensor
    whole: torch.Tensor
    stage: int = 0

    @classmethod
    def of(cls, columns: DeviceColumns, packed: Packed) -> DeviceCells:
        """After the first stage, which those columns are."""
        expected, classes = packed.expected.long(), packed.classes.long()
        whole = columns.multiples.new_zeros((len(classes), len(expected)))
        whole[:, columns.coded] = columns.multiples + columns.multiples.sign() * float(OFF_MIDDLE)
        scales = (
            torch.from_numpy(scale_of_expectation(np.arange(NUM_EXPECTATIONS))).to(expected.device)[expected] - DOUBT
        )
        scales[columns.coded] = columns.tables // NUM_SHAPES
        shift = torch.arange(-MOST, MOST + 1, device=scales.device)[:, None]
        return cls(whole == 0, whole != 0, scales + shift, classes, whole)

    def tables_of_zeros(self) -> torch.Tensor:
        wider = self.scales + (PER_STAGE * (self.stage + 1) - LOWEST_SCALE)
        tables = wider.clamp(0, _NUM_SCALES - 1) + self.stage * _NUM_SCALES
        return tables[self.classes][self.is_zero]

    def moved(self, bits: torch.Tensor, zeros: torch.Tensor) -> None:
        """The next stage: a bit for every wide cell, a symbol for every zero, row by row."""
        moves = torch.zeros_like(self.whole)
        moves[self.is_wide] = (2 * bits.float() - 1) * float(HALF)
        moves[self.is_zero] = zeros.float() - 1
        self.is_zero &= moves == 0
        self.stage += 1
        self.whole += moves * 0.5**self.stage


def refine_all(cells: Sequence[DeviceCells], packed: Sequence[torch.Tensor]) -> None:
    """Brings all bands' cells a stage further, by streams as `codec.refinement.pack` gave them.

    Raises CorruptFrame when they are not what it gives for such cells; some may then be further than others.
    """
    start = COUNT.itemsize
    if min(len(data) for data in packed) < start:
        raise CorruptFrame("a refinement is too short")
    heads = torch.stack([data[:start] for data in packed]).cpu().numpy().view(COUNT)[:, 0]
    bits, streams = [], []
    for each, data, num_bytes in zip(cells, packed, heads.tolist(), strict=True):
        num_wide = int(each.is_wide.sum())
        if num_bytes != -(-num_wide // 8) or start + num_bytes > len(data):
            raise CorruptFrame(f"a refinement of {len(data)} bytes does not hold {num_wide} bits")
        bits.append(_unpacked(data[start : start + num_bytes])[:num_wide])
        streams.append(Stream(data[start + num_bytes :], 1, each.tables_of_zeros()[None]))
    for each, of_wide, zeros in zip(cells, bits, decode_streams(streams, zero_tables()), strict=True):
        each.moved(of_wide, zeros[0])


def _unpacked(packed: torch.Tensor) -> torch.Tensor:
    """Bits, uint8, of bytes, the first the highest."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> shifts) & 1).flatten()

"""A tile of a product of 16-bit integers, by AVX2: its `vpmaddwd` does sixteen multiplications and eight additions."""

from __future__ import annotations

from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from codec.avx2 import Instructions

ROWS, CHANNELS = 4, 16
"""Of a tile: as large as registers take without spilling sums, and no waste on chunks and heads of usual sizes."""

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_I16x16, _I32x8, _F32x8 = (ir.VectorType(*of) for of in ((_I16, 16), (_I32, 8), (ir.FloatType(), 8)))
_ROWS, _TILE, _SCALES, _STEPS, _OFFSET, _OUT, _PAIRS, _WIDTH, _ROW, _CHANNEL = range(10)
_DTYPES = (types.int16, types.int16, *[types.float32] * 4)


@intrinsic
def multiply_tile(
    typing: Any, rows: Any, tile: Any, scales: Any, steps: Any, offset: Any, out: Any,
    num_pairs: Any, width: Any, row: Any, channel: Any,
) -> Any:  # fmt: skip
    """Fills `out`, float32 of `width` columns, from `row` and `channel` on with offset + sums * scales * steps.

    Sums are of products of int16 `rows` `[row, 2 * num_pairs]` with `tile` `[pair, channel, 2]`.
    """
    arrays = (rows, tile, scales, steps, offset, out)
    if tuple(array.dtype for array in arrays) != _DTYPES:
        raise TypingError("arrays of other types")
    return types.void(*arrays, *[types.int64] * 4), _emit_multiply_tile


def _emit_multiply_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    write = Instructions(context, builder, signature, arguments)
    tile = list(product(range(ROWS), range(CHANNELS // 8)))
    rows = [builder.add(arguments[_ROW], ir.Constant(_I64, row)) for row in range(ROWS)]
    channels = [builder.add(arguments[_CHANNEL], ir.Constant(_I64, first)) for first in range(0, CHANNELS, 8)]
    sums = {place: cgutils.alloca_once_value(builder, ir.Constant(_I32x8, [0] * 8)) for place in tile}
    with cgutils.for_range(builder, arguments[_PAIRS], intp=_I64) as loop:
        _emit_pair(write, loop.index, rows, sums)
    for row, block in tile:
        scales, step = write.load(_SCALES, channels[block], _F32x8), write.load(_STEPS, rows[row], ir.FloatType())
        x = builder.fmul(builder.sitofp(builder.load(sums[row, block]), _F32x8), scales)
        x = builder.fadd(builder.fmul(x, _spread(builder, step)), write.load(_OFFSET, channels[block], _F32x8))
        write.store(x, _OUT, builder.add(builder.mul(rows[row], arguments[_WIDTH]), channels[block]))
    return context.get_dummy_value()


def _emit_pair(write: Instructions, pair: Any, rows: Any, sums: Any) -> None:
    """Two components of every row times two of every channel, added to the sums."""
    builder = write.builder
    first = builder.mul(pair, ir.Constant(_I64, 2 * CHANNELS))
    starts = [builder.add(first, ir.Constant(_I64, 2 * channel)) for channel in range(0, CHANNELS, 8)]
    blocks = [write.load(_TILE, start, _I16x16) for start in starts]
    for number, row in enumerate(rows):
        begin = builder.mul(builder.add(builder.mul(row, write.arguments[_PAIRS]), pair), ir.Constant(_I64, 2))
        both = builder.bitcast(_spread(builder, write.load(_ROWS, begin, _I32)), _I16x16)
        for place, block in enumerate(blocks):
            added = write.call("llvm.x86.avx2.pmadd.wd", _I32x8, both, block)
            builder.store(builder.add(builder.load(sums[number, place]), added), sums[number, place])


def _spread(builder: Any, number: Any) -> Any:
    """Eight times the number."""
    vector = ir.VectorType(number.type, 8)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(_I32x8, [0] * 8))

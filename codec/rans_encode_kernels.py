"""The rANS encoder for processors with AVX2: eight lanes at once, the same stream bit for bit.

As `codec.rans_kernels` decodes: a gather fetches what the lanes' tables say of their symbols, and a byte shuffle
lines up the words of those lanes that give one away, with no branch that depends on the symbols.

Quotients come from float32. State and frequency are rounded once each way, so before truncation the quotient,
below 2^20, is off by less than 1/8: the integer is right or one beside it, and the remainder tells which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from codec import rans_kernels
from codec.rans_tables import MAX_SYMBOLS, Tables

_BYTE, _HALF, _WORD, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES8, _BYTES16, _HALVES, _WORDS = (ir.VectorType(*of) for of in ((_BYTE, 8), (_BYTE, 16), (_HALF, 8), (_WORD, 8)))
_FLOATS = ir.VectorType(ir.FloatType(), 8)


def encode(symbols: np.ndarray, columns: np.ndarray, tables: Tables, states: np.ndarray, words: np.ndarray) -> int:
    """Codes flat uint8 `symbols` into the end of uint16 `words`, which is as long; returns where the stream begins.

    `columns`, uint32 `[column]`, is each column's table. Leaves the lanes' final states in uint32 `states`.
    """
    portable = not rans_kernels.HAS_AVX2 or not symbols.size
    in_eights = 0 if portable else symbols.size & ~7
    first = rans_kernels.encode(symbols, columns * (2 * MAX_SYMBOLS), tables.divisors.ravel(), states, words, in_eights)
    if in_eights:
        rows = (columns * MAX_SYMBOLS)[np.arange(columns.size + rans_kernels.COLUMNS_READ_AHEAD) % columns.size]
        first = _encode_blocks(symbols, rows, columns.size, tables.spans.ravel(), states, words, first)
    return int(first)


def _pack() -> np.ndarray:
    """Byte shuffles uint8 `[mask * 16 + byte]`: the 16-bit words whose mask bit is set to the end, in their order."""
    shuffles = np.full((256, 16), 0x80, np.uint8)
    for mask, shuffle in enumerate(shuffles):
        given = [lane for lane in range(8) if mask >> lane & 1]
        shuffle[16 - 2 * len(given) :] = [2 * lane + byte for lane in given for byte in range(2)]
    return shuffles.ravel()


_PACK = _pack()


@intrinsic
def _encode_8(
    typing: Any, states: Any, lane: Any, words: Any, first: Any, rows: Any, column: Any, spans: Any, pack: Any,
    symbols: Any, position: Any,
) -> Any:  # fmt: skip
    """Codes eight symbols in lanes [lane, lane + 8), their words up to `first`; returns how many these are."""
    signature = types.uint64(
        states, types.uint64, words, types.uint64, rows, types.uint64, spans, pack, symbols, types.uint64
    )
    return signature, _emit_encode_8


def _emit_encode_8(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def pointer(argument: int, index: Any, vector: ir.VectorType) -> Any:
        array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
        return builder.bitcast(builder.gep(array.data, [index]), vector.as_pointer())

    def load(argument: int, index: Any, vector: ir.VectorType) -> Any:
        return builder.load(pointer(argument, index, vector), align=1)

    def call(name: str, result: Any, *operands: Any) -> Any:
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, operands)

    def all_lanes(value: int) -> ir.Constant:
        return ir.Constant(_WORDS, [value] * 8)

    lane, first, column, position = (arguments[index] for index in (1, 3, 5, 9))
    state = load(0, lane, _WORDS)
    index = builder.add(builder.zext(load(8, position, _BYTES8), _WORDS), load(4, column, _WORDS))
    base, scale = pointer(6, ir.Constant(_LONG, 0), _BYTE), ir.Constant(_BYTE, 4)
    span = call("llvm.x86.avx2.gather.d.d.256", _WORDS, all_lanes(0), base, index, all_lanes(-1), scale)
    frequency = builder.and_(span, all_lanes(0xFFFF))
    full = builder.icmp_signed(">=", builder.lshr(state, all_lanes(20)), frequency)
    mask = builder.zext(builder.bitcast(full, _BYTE), _LONG)
    shuffle = load(7, builder.shl(mask, ir.Constant(_LONG, 4)), _BYTES16)
    given = call(
        "llvm.x86.ssse3.pshuf.b.128", _BYTES16, builder.bitcast(builder.trunc(state, _HALVES), _BYTES16), shuffle
    )
    builder.store(given, pointer(2, builder.sub(first, ir.Constant(_LONG, 8)), _BYTES16), align=1)
    state = builder.select(full, builder.lshr(state, all_lanes(16)), state)
    quotient = builder.fptosi(builder.fdiv(builder.uitofp(state, _FLOATS), builder.sitofp(frequency, _FLOATS)), _WORDS)
    rest = builder.sub(state, builder.mul(quotient, frequency))
    below = builder.ashr(rest, all_lanes(31))
    quotient, rest = builder.add(quotient, below), builder.add(rest, builder.and_(below, frequency))
    above = builder.sext(builder.icmp_signed(">=", rest, frequency), _WORDS)
    quotient, rest = builder.sub(quotient, above), builder.sub(rest, builder.and_(above, frequency))
    state = builder.add(builder.add(builder.shl(quotient, all_lanes(12)), rest), builder.lshr(span, all_lanes(16)))
    builder.store(state, pointer(0, lane, _WORDS), align=1)
    return call("llvm.ctpop.i64", _LONG, mask)


@njit(cache=True, nogil=True, error_model="numpy")
def _encode_blocks(
    symbols: np.ndarray,
    rows: np.ndarray,
    num_columns: int,
    spans: np.ndarray,
    states: np.ndarray,
    words: np.ndarray,
    first: int,
) -> np.uint64:
    """Codes all symbols but the last `symbols.size % 8`, their words up to `first`; returns where these begin.

    A step stores eight words, those it does not need too. There is room: no symbol takes more than one.
    """
    last_lane, eight, columns = np.uint64(states.size - 1), np.uint64(8), np.uint64(num_columns)
    position, word = np.uint64(symbols.size) & ~np.uint64(7), np.uint64(first)
    column, step = position % columns, eight % columns
    while position:
        position -= eight
        column = column - step if column >= step else column + columns - step
        word -= _encode_8(states, position & last_lane, words, word, rows, column, spans, _PACK, symbols, position)
    return word

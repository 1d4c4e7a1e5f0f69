"""The loops of the rANS coder, compiled by numba on first use. They trust their arguments: `codec.rans` checks.

Decoding comes twice. `_decode_symbols` is the portable loop, one symbol at a time. Where the processor has
AVX2, `_decode_blocks` takes eight lanes at once: a gather fetches their slots, and a byte shuffle hands the
next words to those lanes that need one (Giesen 2014), with no branch that depends on the symbols.

Neither reads outside of its arrays whatever the stream holds: the slot index is masked, `words` is followed
by `WORDS_READ_AHEAD` spare ones, and reading stops once the stream is overrun.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

WORDS_READ_AHEAD = COLUMNS_READ_AHEAD = 8
HAS_AVX2 = (
    config.CPU_NAME is None
    and config.CPU_FEATURES is None
    and bool(llvmlite.binding.get_host_cpu_features().get("avx2"))
)

_BYTE, _HALF, _WORD, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES8, _BYTES16, _HALVES, _WORDS = (ir.VectorType(*of) for of in ((_BYTE, 8), (_BYTE, 16), (_HALF, 8), (_WORD, 8)))


def _spread() -> np.ndarray:
    """Byte shuffles uint8 `[mask * 16 + byte]`: consecutive 16-bit words to the lanes whose mask bit is set."""
    needs = (np.arange(256)[:, None] >> np.arange(8)) & 1
    source = 2 * (np.cumsum(needs, axis=1) - needs)
    shuffles = np.where(needs[..., None], source[..., None] + np.arange(2), 0x80)
    return shuffles.astype(np.uint8).ravel()


_SPREAD = _spread()


@njit(cache=True, nogil=True, error_model="numpy")
def encode(
    symbols: np.ndarray, rows: np.ndarray, divisors: np.ndarray, states: np.ndarray, words: np.ndarray, begin: int
) -> np.uint64:
    """Codes flat uint8 `symbols` [begin, size), last one first, into the end of uint16 `words`, as long as they are.

    `rows` uint32 `[column]` is where each column's table begins in `divisors`, flat uint64 as `Tables.divisors`.
    Leaves the lanes' final states in uint32 `states`; returns where in `words` the stream begins.
    """
    last_lane = np.uint64(states.size - 1)
    first = np.uint64(words.size)
    column = np.uint64(0)
    for position in range(symbols.size - 1, begin - 1, -1):
        if column == 0:
            column = np.uint64(rows.size)
        column -= np.uint64(1)
        entry = np.uint64(rows[column]) + (np.uint64(symbols[position]) << np.uint64(1))
        reciprocal, packed = divisors[entry], divisors[entry + np.uint64(1)]
        frequency, start = packed & np.uint64(0xFFFF), packed >> np.uint64(32)
        lane = np.uint64(position) & last_lane
        state = np.uint64(states[lane])
        words[first - np.uint64(1)] = state
        full = (state >> np.uint64(20)) >= frequency
        first -= np.uint64(full)
        state >>= np.uint64(full) << np.uint64(4)
        quotient = (state * reciprocal) >> np.uint64(44)
        states[lane] = quotient * (np.uint64(4096) - frequency) + state + start
    return first


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_1(
    states: np.ndarray,
    lane: int,
    words: np.ndarray,
    word: int,
    row: int,
    slots: np.ndarray,
    out: np.ndarray,
    position: int,
) -> np.uint64:
    """Decodes one symbol of one lane, under the table that begins at `row`; returns how many words it took."""
    state = states[lane]
    slot = slots[np.uint64(row) + np.uint64(state & np.uint32(4095))]
    out[position] = np.uint8(slot)
    frequency = ((slot >> np.uint32(8)) & np.uint32(4095)) + np.uint32(1)
    state = np.uint32(frequency * (state >> np.uint32(12)) + (slot >> np.uint32(20)))
    short = state < np.uint32(1 << 16)
    refilled = np.uint32(np.uint32(state << np.uint32(16)) | np.uint32(words[word]))
    states[lane] = refilled if short else state
    return np.uint64(short)


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_symbols(
    words: np.ndarray,
    states: np.ndarray,
    rows: np.ndarray,
    num_columns: int,
    slots: np.ndarray,
    out: np.ndarray,
    begin: int,
    word: int,
) -> np.uint64:
    """Decodes symbols [begin, out.size), the first of them with the words from `word` on; returns words read."""
    last_lane, eight, size = np.uint64(states.size - 1), np.uint64(8), np.uint64(out.size)
    num_words = np.uint64(words.size - WORDS_READ_AHEAD)
    columns, column = np.uint64(num_columns), np.uint64(begin) % np.uint64(num_columns)
    step = eight % columns
    next_word = np.uint64(word)
    for position in range(np.uint64(begin), size, eight):
        if next_word > num_words:
            break
        lane = position & last_lane
        if position + eight <= size:
            for i in range(eight):
                next_word += _decode_1(states, lane + i, words, next_word, rows[column + i], slots, out, position + i)
        else:
            for i in range(size - position):
                next_word += _decode_1(states, lane + i, words, next_word, rows[column + i], slots, out, position + i)
        column += step
        if column >= columns:
            column -= columns
    return next_word


@intrinsic
def _decode_8(
    typing: Any, states: Any, lane: Any, words: Any, word: Any, rows: Any, column: Any, slots: Any, spread: Any,
    out: Any, position: Any,
) -> Any:  # fmt: skip
    """One step of lanes [lane, lane + 8), as `_decode_symbols` does it; returns how many words they read."""
    arrays = (states, words, rows, slots, spread, out)
    if [array.dtype for array in arrays] != [
        types.uint32,
        types.uint16,
        types.uint32,
        types.uint32,
        types.uint8,
        types.uint8,
    ]:
        raise TypingError("arrays of other types")
    signature = types.uint64(
        states, types.uint64, words, types.uint64, rows, types.uint64, slots, spread, out, types.uint64
    )
    return signature, _emit_decode_8


def _emit_decode_8(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
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

    lane, word, column, position = (arguments[index] for index in (1, 3, 5, 9))
    state = load(0, lane, _WORDS)
    index = builder.add(builder.and_(state, all_lanes(4095)), load(4, column, _WORDS))
    base = pointer(6, ir.Constant(_LONG, 0), _BYTE)
    scale = ir.Constant(_BYTE, 4)
    slot = call("llvm.x86.avx2.gather.d.d.256", _WORDS, all_lanes(0), base, index, all_lanes(-1), scale)
    builder.store(builder.trunc(slot, _BYTES8), pointer(8, position, _BYTES8), align=1)
    frequency = builder.add(builder.and_(builder.lshr(slot, all_lanes(8)), all_lanes(4095)), all_lanes(1))
    state = builder.mul(frequency, builder.lshr(state, all_lanes(12)))
    state = builder.add(state, builder.lshr(slot, all_lanes(20)))
    short = builder.icmp_unsigned("<", state, all_lanes(1 << 16))
    mask = builder.zext(builder.bitcast(short, _BYTE), _LONG)
    shuffle = load(7, builder.shl(mask, ir.Constant(_LONG, 4)), _BYTES16)
    fresh = call("llvm.x86.ssse3.pshuf.b.128", _BYTES16, load(2, word, _BYTES16), shuffle)
    fresh = builder.zext(builder.bitcast(fresh, _HALVES), _WORDS)
    state = builder.or_(builder.select(short, builder.shl(state, all_lanes(16)), state), fresh)
    builder.store(state, pointer(0, lane, _WORDS), align=1)
    return call("llvm.ctpop.i64", _LONG, mask)


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_blocks(
    words: np.ndarray, states: np.ndarray, rows: np.ndarray, num_columns: int, slots: np.ndarray, out: np.ndarray
) -> Any:
    """`_decode_symbols` for all of them, eight at a time as far as there are eight."""
    last_lane, eight = np.uint64(states.size - 1), np.uint64(8)
    num_words = np.uint64(words.size - WORDS_READ_AHEAD)
    columns, column = np.uint64(num_columns), np.uint64(0)
    step = eight % columns
    end = np.uint64(out.size) & ~np.uint64(7)
    word = np.uint64(0)
    for position in range(np.uint64(0), end, eight):
        if word > num_words:
            break
        word += _decode_8(states, position & last_lane, words, word, rows, column, slots, _SPREAD, out, position)
        column += step
        if column >= columns:
            column -= columns
    return _decode_symbols(words, states, rows, num_columns, slots, out, end, word)


def decode(
    words: np.ndarray, states: np.ndarray, rows: np.ndarray, num_columns: int, slots: np.ndarray, out: np.ndarray
) -> int:
    """Decodes flat uint8 `out.size` symbols; returns the words read, more than there are when there were too few.

    `words` uint16, `WORDS_READ_AHEAD` longer than the stream's; `states` uint32 `[lane]`, left as they end;
    `rows` uint32 `[num_columns + COLUMNS_READ_AHEAD]`, where each column's table begins in `slots` (flat
    uint32, as `Tables.slots`), going round after the last column.
    """
    if HAS_AVX2:
        read: np.uint64 = _decode_blocks(words, states, rows, num_columns, slots, out)
    else:
        read = _decode_symbols(words, states, rows, num_columns, slots, out, 0, 0)
    return int(read)


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_portably(
    words: np.ndarray, states: np.ndarray, rows: np.ndarray, num_columns: int, slots: np.ndarray, out: np.ndarray
) -> Any:
    return _decode_symbols(words, states, rows, num_columns, slots, out, 0, 0)


decode_in_kernel = _decode_blocks if HAS_AVX2 else _decode_portably
"""`decode` for other compiled loops to call."""

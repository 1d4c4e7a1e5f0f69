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
def all_below(values: np.ndarray, bound: int) -> bool:
    """Whether every one of flat int64 `values` is in [0, bound)."""
    inside = True
    for value in values:
        inside &= (value >= 0) & (value < bound)
    return inside


@njit(cache=True, nogil=True, error_model="numpy")
def table_starts(table_of_column: np.ndarray, table_size: int) -> np.ndarray:
    """Where tables of `table_size` begin, uint32 `[class, column + COLUMNS_READ_AHEAD]`.

    From int64 `table_of_column` `[class, column]`; goes round after the last column, and means nothing without one.
    """
    num_classes, num_columns = table_of_column.shape
    starts = np.empty((num_classes, num_columns + COLUMNS_READ_AHEAD), np.uint32)
    for row_class in range(num_classes):
        for column in range(num_columns):
            starts[row_class, column] = table_of_column[row_class, column] * table_size
        for column in range(num_columns, num_columns + COLUMNS_READ_AHEAD):
            starts[row_class, column] = starts[row_class, column - num_columns]
    return starts


@njit(cache=True, nogil=True, error_model="numpy")
def encode(
    symbols: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    divisors: np.ndarray,
    states: np.ndarray,
    words: np.ndarray,
) -> np.uint64:
    """Codes flat uint8 `symbols`, last one first, into the end of uint16 `words`, which is as long.

    `starts` as `table_starts` makes them, for `divisors`, flat uint64 as `Tables.divisors`; `class_of_row` int64
    `[row]`. Leaves the lanes' final states in uint32 `states`; returns where in `words` the stream begins.
    """
    last_lane = np.uint64(states.size - 1)
    first = np.uint64(words.size)
    width, flat = np.uint64(starts.shape[1]), starts.ravel()
    num_columns = width - np.uint64(COLUMNS_READ_AHEAD)
    row, column, begin = class_of_row.size, np.uint64(0), np.uint64(0)
    for position in range(symbols.size - 1, -1, -1):
        if column == 0:
            row -= 1
            column, begin = num_columns, np.uint64(class_of_row[row]) * width
        column -= np.uint64(1)
        entry = np.uint64(flat[begin + column]) + (np.uint64(symbols[position]) << np.uint64(1))
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
    start: int,
    slots: np.ndarray,
    out: np.ndarray,
    position: int,
) -> np.uint64:
    """Decodes one symbol of one lane, under the table that begins at `start`; returns how many words it took."""
    state = states[lane]
    slot = slots[np.uint64(start) + np.uint64(state & np.uint32(4095))]
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
    starts: np.ndarray,
    class_of_row: np.ndarray,
    slots: np.ndarray,
    out: np.ndarray,
    begin: int,
    word: int,
) -> np.uint64:
    """Decodes symbols [begin, out.size), the first of them with the words from `word` on; returns words read."""
    last_lane, one = np.uint64(states.size - 1), np.uint64(1)
    num_words = np.uint64(words.size - WORDS_READ_AHEAD)
    num_columns = np.uint64(starts.shape[1] - COLUMNS_READ_AHEAD)
    column, next_word, position = np.uint64(begin) % num_columns, np.uint64(word), np.uint64(begin)
    for row in range(np.uint64(begin) // num_columns, np.uint64(class_of_row.size)):
        row_class = class_of_row[row]
        while column < num_columns:
            if next_word > num_words:
                return next_word
            next_word += _decode_1(
                states, position & last_lane, words, next_word, starts[row_class, column], slots, out, position
            )
            position += one
            column += one
        column = np.uint64(0)
    return next_word


@intrinsic
def _decode_8(
    typing: Any, states: Any, lane: Any, words: Any, word: Any, starts: Any, first: Any, slots: Any, spread: Any,
    out: Any, position: Any,
) -> Any:  # fmt: skip
    """One step of lanes [lane, lane + 8), their tables' starts from `first` on; returns how many words they read."""
    arrays = (states, words, starts, slots, spread, out)
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
        states, types.uint64, words, types.uint64, starts, types.uint64, slots, spread, out, types.uint64
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

    lane, word, first, position = (arguments[index] for index in (1, 3, 5, 9))
    state = load(0, lane, _WORDS)
    index = builder.add(builder.and_(state, all_lanes(4095)), load(4, first, _WORDS))
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
def _gather_starts(starts: np.ndarray, class_of_row: np.ndarray, position: int, eight: np.ndarray) -> None:
    """Where the tables of the symbols from `position` on begin, into uint32 `eight`; across rows of any class."""
    num_columns = np.uint64(starts.shape[1] - COLUMNS_READ_AHEAD)
    row, column = position // num_columns, position % num_columns
    for i in range(eight.size):
        eight[i] = starts[class_of_row[row], column]
        column += np.uint64(1)
        if column == num_columns:
            row, column = row + np.uint64(1), np.uint64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _end_of_run(class_of_row: np.ndarray, row: np.uint64) -> np.uint64:
    """The first row after `row` that is of another class, or the number of rows."""
    end = row + np.uint64(1)
    while end < np.uint64(class_of_row.size) and class_of_row[end] == class_of_row[row]:
        end += np.uint64(1)
    return end


@njit(cache=True, nogil=True, error_model="numpy")
def _decode_blocks(
    words: np.ndarray,
    states: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    slots: np.ndarray,
    out: np.ndarray,
) -> Any:
    """`_decode_symbols` for all of them, eight at a time as far as there are eight.

    Goes from run to run of rows of one class. The eight symbols that reach over a run's end get their tables'
    starts from `seam`, filled before the run, because a vector loaded right after its parts are stored stalls.
    """
    last_lane, eight = np.uint64(states.size - 1), np.uint64(8)
    num_words = np.uint64(words.size - WORDS_READ_AHEAD)
    width = np.uint64(starts.shape[1])
    num_columns = width - np.uint64(COLUMNS_READ_AHEAD)
    step, flat = eight % num_columns, starts.ravel()
    seam = np.empty(8, np.uint32)
    end = np.uint64(out.size) & ~np.uint64(7)
    word = position = np.uint64(0)
    while position < end:
        row, column = position // num_columns, position % num_columns
        first = np.uint64(class_of_row[row]) * width
        run_end = _end_of_run(class_of_row, row) * num_columns
        inside = run_end & ~np.uint64(7)
        if inside < end:
            _gather_starts(starts, class_of_row, inside, seam)
        for block in range(position, inside, eight):
            if word > num_words:
                return word
            word += _decode_8(states, block & last_lane, words, word, flat, first + column, slots, _SPREAD, out, block)
            column += step
            if column >= num_columns:
                column -= num_columns
        position = inside
        if inside < run_end and inside < end:
            if word > num_words:
                return word
            word += _decode_8(states, inside & last_lane, words, word, seam, np.uint64(0), slots, _SPREAD, out, inside)
            position += eight
    return _decode_symbols(words, states, starts, class_of_row, slots, out, end, word)


def decode(
    words: np.ndarray,
    states: np.ndarray,
    starts: np.ndarray,
    class_of_row: np.ndarray,
    slots: np.ndarray,
    out: np.ndarray,
) -> int:
    """Decodes flat uint8 `out`, at least one symbol; returns the words read, or more than there are if too few.

    `words` uint16, `WORDS_READ_AHEAD` longer than the stream's; `states` uint32 `[lane]`, left as they end;
    `starts` as `table_starts` makes them, for `slots`, flat uint32 as `Tables.slots`; `class_of_row` int64 `[row]`.
    """
    if HAS_AVX2:
        read: np.uint64 = _decode_blocks(words, states, starts, class_of_row, slots, out)
    else:
        read = _decode_symbols(words, states, starts, class_of_row, slots, out, 0, 0)
    return int(read)

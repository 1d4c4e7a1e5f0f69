"""The steps of the rANS coder for processors with AVX2: eight lanes at once, the same streams bit for bit.

In either direction a gather fetches what the lanes' tables say, and a byte shuffle moves words between the stream
and those lanes that take or give one (Giesen 2014), with no branch that depends on the symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from codec.avx2 import Instructions

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_I8x8, _I8x16, _I16x8, _I32x8 = (ir.VectorType(*of) for of in ((_I8, 8), (_I8, 16), (_I16, 8), (_I32, 8)))
_F32x8 = ir.VectorType(ir.FloatType(), 8)
_STATES, _WORDS, _STARTS, _TABLES, _SHUFFLES, _SYMBOLS, _LANE, _WORD, _COLUMN, _POSITION = range(10)
_DTYPES = (types.uint32, types.uint16, types.uint32, types.uint32, types.uint8, types.uint8)


def _spread() -> np.ndarray:
    """Byte shuffles uint8 `[mask * 16 + byte]`: consecutive 16-bit words to the lanes whose mask bit is set."""
    needs = (np.arange(256)[:, None] >> np.arange(8)) & 1
    source = 2 * (np.cumsum(needs, axis=1) - needs)
    shuffles = np.where(needs[..., None], source[..., None] + np.arange(2), 0x80)
    return shuffles.astype(np.uint8).ravel()


def _pack() -> np.ndarray:
    """Byte shuffles uint8 `[mask * 16 + byte]`: the 16-bit words whose mask bit is set to the end, in their order."""
    shuffles = np.full((256, 16), 0x80, np.uint8)
    for mask, shuffle in enumerate(shuffles):
        given = [lane for lane in range(8) if mask >> lane & 1]
        shuffle[16 - 2 * len(given) :] = [2 * lane + byte for lane in given for byte in range(2)]
    return shuffles.ravel()


SPREAD, PACK = _spread(), _pack()


@intrinsic
def decode_8(
    typing: Any, states: Any, words: Any, starts: Any, slots: Any, spread: Any, out: Any,
    lane: Any, word: Any, column: Any, position: Any,
) -> Any:  # fmt: skip
    """Decodes `out[position : position + 8]`, in lanes [lane, lane + 8), from the words that begin at `word`.

    The symbols' tables begin in `slots` at `starts[column : column + 8]`; `spread` is `SPREAD`. Returns how many
    words the lanes took. Reads eight.
    """
    return _signature(states, words, starts, slots, spread, out), _emit_decode_8


@intrinsic
def encode_8(
    typing: Any, states: Any, words: Any, starts: Any, spans: Any, pack: Any, symbols: Any,
    lane: Any, word: Any, column: Any, position: Any,
) -> Any:  # fmt: skip
    """Codes `symbols[position : position + 8]`, in lanes [lane, lane + 8), into the words that end at `word`.

    The symbols' tables begin in `spans` at `starts[column : column + 8]`; `pack` is `PACK`. Returns how many words
    the lanes gave. Writes eight.
    """
    return _signature(states, words, starts, spans, pack, symbols), _emit_encode_8


def _signature(*arrays: Any) -> Any:
    if tuple(array.dtype for array in arrays) != _DTYPES:
        raise TypingError("arrays of other types")
    return types.uint64(*arrays, *[types.uint64] * 4)


def _all(value: int) -> ir.Constant:
    return ir.Constant(_I32x8, [value] * 8)


class _Step(Instructions):
    """Writes instructions that both steps need."""

    def entries(self, offsets: Any) -> Any:
        """What stands at `offsets` in the lanes' tables."""
        index = self.builder.add(offsets, self.load(_STARTS, self.arguments[_COLUMN], _I32x8))
        base, scale = self.pointer(_TABLES, ir.Constant(_I64, 0), _I8), ir.Constant(_I8, 4)
        return self.call("llvm.x86.avx2.gather.d.d.256", _I32x8, _all(0), base, index, _all(-1), scale)

    def mask(self, lanes: Any) -> Any:
        return self.builder.zext(self.builder.bitcast(lanes, _I8), _I64)

    def shuffled(self, words: Any, mask: Any) -> Any:
        shuffle = self.load(_SHUFFLES, self.builder.shl(mask, ir.Constant(_I64, 4)), _I8x16)
        return self.call("llvm.x86.ssse3.pshuf.b.128", _I8x16, words, shuffle)

    def finish(self, state: Any, mask: Any) -> Any:
        """Leaves the lanes' states; counts the mask."""
        self.store(state, _STATES, self.arguments[_LANE])
        return self.call("llvm.ctpop.i64", _I64, mask)


def _emit_decode_8(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    step = _Step(context, builder, signature, arguments)
    state = step.load(_STATES, arguments[_LANE], _I32x8)
    slot = step.entries(builder.and_(state, _all(4095)))
    step.store(builder.trunc(slot, _I8x8), _SYMBOLS, arguments[_POSITION])
    frequency = builder.add(builder.and_(builder.lshr(slot, _all(8)), _all(4095)), _all(1))
    state = builder.mul(frequency, builder.lshr(state, _all(12)))
    state = builder.add(state, builder.lshr(slot, _all(20)))
    short = builder.icmp_unsigned("<", state, _all(1 << 16))
    mask = step.mask(short)
    fresh = step.shuffled(step.load(_WORDS, arguments[_WORD], _I8x16), mask)
    fresh = builder.zext(builder.bitcast(fresh, _I16x8), _I32x8)
    state = builder.or_(builder.select(short, builder.shl(state, _all(16)), state), fresh)
    return step.finish(state, mask)


def _emit_encode_8(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Quotients come from float32.

    State and frequency are rounded once each way, so before truncation the quotient, below 2^20, is off by less
    than 1/8: the integer is right or one beside it, and the remainder tells which.
    """
    step = _Step(context, builder, signature, arguments)
    state = step.load(_STATES, arguments[_LANE], _I32x8)
    span = step.entries(builder.zext(step.load(_SYMBOLS, arguments[_POSITION], _I8x8), _I32x8))
    frequency = builder.and_(span, _all(0xFFFF))
    full = builder.icmp_signed(">=", builder.lshr(state, _all(20)), frequency)
    mask = step.mask(full)
    given = step.shuffled(builder.bitcast(builder.trunc(state, _I16x8), _I8x16), mask)
    step.store(given, _WORDS, builder.sub(arguments[_WORD], ir.Constant(_I64, 8)))
    state = builder.select(full, builder.lshr(state, _all(16)), state)
    quotient = builder.fptosi(builder.fdiv(builder.uitofp(state, _F32x8), builder.sitofp(frequency, _F32x8)), _I32x8)
    rest = builder.sub(state, builder.mul(quotient, frequency))
    below = builder.ashr(rest, _all(31))
    quotient, rest = builder.add(quotient, below), builder.add(rest, builder.and_(below, frequency))
    above = builder.sext(builder.icmp_signed(">=", rest, frequency), _I32x8)
    quotient, rest = builder.sub(quotient, above), builder.sub(rest, builder.and_(above, frequency))
    state = builder.add(builder.add(builder.shl(quotient, _all(12)), rest), builder.lshr(span, _all(16)))
    return step.finish(state, mask)

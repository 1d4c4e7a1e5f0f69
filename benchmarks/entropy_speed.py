"""How fast do symbols become bits and come back? The first half of `benchmarks.codec_speed`.

The entropy stage alone: our interleaved rANS (one thread, and two on two streams), constriction's ANS under
the same probabilities, zstd level 1 on the same symbols as bytes, and memcpy of them. Symbols are drawn from
discretised Laplace and Gaussian tables, as a transform leaves them: columns sorted from wide to narrow, one
table each, `[token, column]`. `over` is the rate over the cross-entropy of the symbols under their tables.

The floor of decoding, estimated by counting. Per eight symbols the AVX2 loop is about 45 instructions and one
gather of eight 4-byte slots: on Zen 3 some 90 micro-operations, six of which start per cycle, so 15 cycles, or
1.9 a symbol: 1.8 Gsymbol/s at 3.4 GHz. A lane's own chain (load, gather, multiply, compare, shuffle, store) is
some 65 cycles, which 32 lanes hide up to 2.0 cycles a symbol. Bytes per symbol: one written, an eighth of its
bits read, and 4 gathered at a random place of a 16 KiB table, which is what keeps us from the floor: one table
fits the first-level cache, sixteen only the second, hence the row with one table. Encoding is scalar: some 25
micro-operations a symbol, no division, 4 to 5 cycles.

The gap, on one of two virtual Zen 3 cores with other work beside it (commit 19dd8f5, --quick): decoding 1.06
Gsymbol/s with one table and 0.78 to 0.83 with sixteen, 1.7 to 2.3 times the floor; encoding 0.32, 2 times.
How much of it is the sharing is not known; two threads say nothing on such a machine, so they have no bar.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import zstandard

from benchmarks.report import Check, at_least, at_most
from codec import rans
from codec.rans_tables import NUM_SLOTS, Tables, fit_tables

_COLUMNS, _NUM_SYMBOLS = 512, 64
_DECODE_BAR, _DECODE_AIM, _ENCODE_BAR, _TIMES_BAR, _RATE_BAR = 350.0, 1000.0, 150.0, 15.0, 1.01


@dataclass(frozen=True)
class Source:
    """Symbols uint8 `[token, column]` drawn from the tables that code them."""

    name: str
    tables: Tables
    table_of_column: np.ndarray
    symbols: np.ndarray

    @property
    def bits(self) -> float:
        """Cross-entropy in bits per symbol."""
        frequencies = self.tables.frequencies[self.table_of_column[None, :], self.symbols]
        return float(-np.log2(frequencies / NUM_SLOTS).mean())


@dataclass(frozen=True)
class Measured:
    """One coder on one source: size of the result, and millions of symbols per second."""

    num_bytes: int
    encode: float
    decode: float
    decode_2_threads: float | None = None


def entropy_speed(quick: bool) -> tuple[list[dict[str, Any]], list[Check]]:
    """Rows and checks."""
    num_tokens, repeats = (1024, 15) if quick else (2048, 50)
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []
    for source in _sources(num_tokens):
        ours = _rans(source, repeats)
        peer = _constriction(source, 3)
        measured = {
            "rans": ours,
            "constriction": peer,
            "zstd -1": _zstd(source, repeats),
            "memcpy": _copy(source, repeats),
        }
        rows += [_row(source, coder, result) for coder, result in measured.items()]
        checks += _checks(source, ours, peer)
    return rows, checks


def _sources(num_tokens: int) -> list[Source]:
    distance = np.arange(_NUM_SYMBOLS) - _NUM_SYMBOLS // 2
    narrow, wide = np.geomspace(1.2, 0.3, 16)[:, None], np.geomspace(3.0, 0.8, 16)[:, None]
    weights = {
        "laplace, one table": np.exp(-np.abs(distance) / np.array([[0.7]])),
        "laplace, narrow": np.exp(-np.abs(distance) / narrow),
        "laplace, wide": np.exp(-np.abs(distance) / wide),
        "gaussian, wide": np.exp(-((distance / wide) ** 2) / 2),
    }
    return [_source(name, fit_tables(table), num_tokens) for name, table in weights.items()]


def _source(name: str, tables: Tables, num_tokens: int) -> Source:
    table_of_column = np.sort(np.arange(_COLUMNS) % tables.num_tables)
    slots = np.random.default_rng(0).integers(0, NUM_SLOTS, (num_tokens, _COLUMNS))
    return Source(name, tables, table_of_column, (tables.slots[table_of_column[None, :], slots] & 255).astype(np.uint8))


def _rans(source: Source, repeats: int) -> Measured:
    num_tokens, symbols, under = len(source.symbols), source.symbols, (source.table_of_column, source.tables)
    stream, rooms = rans.encode(symbols, *under), (np.empty_like(symbols), np.empty_like(symbols))
    if not np.array_equal(rans.decode(stream, num_tokens, *under), symbols):
        raise SystemExit("the symbols did not come back")

    def decode_some(room: np.ndarray) -> None:
        for _ in range(4):
            rans.decode(stream, num_tokens, *under, room)

    with ThreadPoolExecutor(2) as threads:
        both = _speed(8 * symbols.size, repeats // 4 + 1, lambda: list(threads.map(decode_some, rooms)))
    encode = _speed(symbols.size, repeats, lambda: rans.encode(symbols, *under))
    decode = _speed(symbols.size, repeats, lambda: rans.decode(stream, num_tokens, *under, rooms[0]))
    return Measured(stream.size, encode, decode, both)


def _constriction(source: Source, repeats: int) -> Measured:
    """One coder for all symbols, table by table: its fastest way, a whole array under one model."""
    coder = constriction.stream.stack.AnsCoder
    probabilities = (source.tables.frequencies / np.float32(NUM_SLOTS)).astype(np.float32)
    models = [constriction.stream.model.Categorical(table, perfect=False) for table in probabilities]
    parts = [source.symbols[:, source.table_of_column == table].ravel() for table in range(len(models))]
    symbols = [part.astype(np.int32) for part in parts]

    def encode() -> np.ndarray:
        writer = coder()
        for part, model in zip(reversed(symbols), reversed(models), strict=True):
            writer.encode_reverse(part, model)
        words: np.ndarray = writer.get_compressed()
        return words

    def decode() -> list[np.ndarray]:
        reader = coder(words)
        return [reader.decode(model, part.size) for part, model in zip(symbols, models, strict=True)]

    words = encode()
    if not all(np.array_equal(part, back) for part, back in zip(symbols, decode(), strict=True)):
        raise SystemExit("constriction's symbols did not come back")
    size = source.symbols.size
    return Measured(words.nbytes, _speed(size, repeats, encode), _speed(size, repeats, decode))


def _zstd(source: Source, repeats: int) -> Measured:
    size, writer, reader = source.symbols.size, zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    frame = writer.compress(source.symbols.data)
    encode = _speed(size, repeats, lambda: writer.compress(source.symbols.data))
    return Measured(len(frame), encode, _speed(size, repeats, lambda: reader.decompress(frame)))


def _copy(source: Source, repeats: int) -> Measured:
    room = np.empty_like(source.symbols)
    speed = _speed(room.size, repeats, lambda: np.copyto(room, source.symbols))
    return Measured(room.size, speed, speed)


def _speed(num_symbols: int, repeats: int, run: Callable[[], Any]) -> float:
    """Millions of symbols per second in the fastest of `repeats` runs."""
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return num_symbols / fastest / 1e6


def _row(source: Source, coder: str, measured: Measured) -> dict[str, Any]:
    bits = 8 * measured.num_bytes / source.symbols.size
    return {
        "symbols": source.name,
        "coder": coder,
        "bits": bits,
        "over": bits / source.bits - 1,
        "encode_msymbols_s": measured.encode,
        "decode_msymbols_s": measured.decode,
        "decode_2_threads": measured.decode_2_threads,
    }


def _checks(source: Source, ours: Measured, peer: Measured) -> list[Check]:
    bits = 8 * ours.num_bytes / source.symbols.size
    return [
        at_least(f"{source.name}: decode, Msymbol/s", ours.decode, _DECODE_BAR, _DECODE_AIM),
        at_least(f"{source.name}: encode, Msymbol/s", ours.encode, _ENCODE_BAR),
        at_least(f"{source.name}: decode, times constriction", ours.decode / peer.decode, _TIMES_BAR),
        at_most(f"{source.name}: bytes over constriction's", ours.num_bytes / peer.num_bytes, _RATE_BAR),
        at_most(f"{source.name}: bits over entropy", bits / source.bits, _RATE_BAR),
    ]

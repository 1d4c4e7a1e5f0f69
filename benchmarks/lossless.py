"""How small, and how fast, is KV without loss: our leading bits under rANS, or byte planes under zstd?

Real KV of a model in chunks of 128 tokens, layer by layer, without the frame around it: `lossless`; the plane of
the top bytes under zstd, the planes below it as they are (`planes`); zstd on the bytes as they stand; memcpy.
Speeds count the bytes of the floats: of each layer the fastest of some passes, in CPU time, coders taking turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard

from benchmarks.report import Check, at_least, at_most, parser, publish
from codec import Lossless
from codec.bits import bits_of
from connectors.hf import ttft
from connectors.hf.corpora import read_corpus, windows
from connectors.hf.models import demo_model_dir, load_model

_CHUNK_TOKENS = 128
_Layer = tuple[torch.Tensor, torch.Tensor]
_Coder = tuple[Callable[[_Layer], Any], Callable[[Any, _Layer], None], Callable[[Any], int]]


def main() -> None:
    arguments = _arguments()
    model, tokenizer = load_model(arguments.model or demo_model_dir(), torch.float32)
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []
    for corpus in arguments.corpus:
        texts = [passages.text for passages in read_corpus(corpus)]
        computed = ttft.computed_context(model, next(windows(tokenizer, texts, arguments.context)))
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            layers = _layers(computed, dtype)
            measured = _measured(layers, arguments.repeats)
            about = {"text": corpus.name, "dtype": str(dtype).removeprefix("torch.")}
            rows += [{**about, "coder": name, **numbers} for name, numbers in measured.items()]
            checks += _checks(" ".join(about.values()), measured)
    publish("lossless", rows, checks, arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    shipped = Path(__file__).parents[1] / "connectors" / "hf" / "documents" / "founding_documents.txt"
    options.add_argument("--model", help="hub id or directory; the demo model where absent")
    options.add_argument(
        "--corpus", type=Path, action="append", help=f".json, .jsonl or text, repeatable; else {shipped.name}"
    )
    options.add_argument("--context", type=int, default=1024)
    options.add_argument("--repeats", type=int, default=10)
    arguments = options.parse_args()
    arguments.corpus = arguments.corpus or [shipped]
    if arguments.quick:
        arguments.context, arguments.repeats = 256, 5
    return arguments


def _layers(computed: Any, dtype: torch.dtype) -> list[_Layer]:
    """Keys and values `[kv_head, token, dim]` of every layer of every chunk."""
    whole = [(layer.keys[0].to(dtype), layer.values[0].to(dtype)) for layer in computed.layers]
    starts = range(0, whole[0][0].shape[1], _CHUNK_TOKENS)
    return [
        (keys[:, start : start + _CHUNK_TOKENS], values[:, start : start + _CHUNK_TOKENS])
        for start in starts
        for keys, values in whole
    ]


def _measured(layers: list[_Layer], repeats: int) -> dict[str, dict[str, float]]:
    """By coder: bits per number, and GB/s of floats encoded and decoded. Ends the run when a bit comes back wrong."""
    numbers = sum(part.numel() for layer in layers for part in layer)
    gigabytes = numbers * layers[0][0].element_size() / 1e9
    rooms = [(torch.empty_like(keys), torch.empty_like(values)) for keys, values in layers]
    rounds = [{name: _pass(coder, layers, rooms) for name, coder in _CODERS.items()} for _ in range(repeats)]
    best = {name: np.min([each[name] for each in rounds], axis=0).sum(axis=0).tolist() for name in _CODERS}
    return {
        name: {
            "bits": 8 * num_bytes / numbers,
            "encode_gb_s": gigabytes / encode_s,
            "decode_gb_s": gigabytes / decode_s,
        }
        for name, (num_bytes, encode_s, decode_s) in best.items()
    }


def _pass(coder: _Coder, layers: list[_Layer], rooms: list[_Layer]) -> np.ndarray:
    """Bytes, seconds to encode, seconds to decode: float64 `[layer, 3]`. All are encoded, then all decoded."""
    encode, decode, size = coder
    coded, measured = [], np.empty((len(layers), 3))
    for row, layer in zip(measured, layers, strict=True):
        start = time.thread_time()
        coded.append(encode(layer))
        row[:2] = size(coded[-1]), time.thread_time() - start
    for row, each, room in zip(measured, coded, rooms, strict=True):
        start = time.thread_time()
        decode(each, room)
        row[2] = time.thread_time() - start
    for layer, room in zip(layers, rooms, strict=True):
        if not all(np.array_equal(bits_of(one), bits_of(other)) for one, other in zip(layer, room, strict=True)):
            raise SystemExit("the numbers did not come back")
    return measured


def _checks(name: str, measured: dict[str, dict[str, float]]) -> list[Check]:
    ours, peer = measured["lossless"], measured["planes, zstd 1"]
    return [
        at_most(f"{name}: fewer bytes than zstd", ours["bits"] / peer["bits"], 1.0),
        at_least(f"{name}: decodes faster than zstd", ours["decode_gb_s"] / peer["decode_gb_s"], 1.0),
    ]


def _ours() -> _Coder:
    codec = Lossless()

    def decode(sections: dict[str, np.ndarray], room: _Layer) -> None:
        codec.decode_layer(0, lambda name, *_: sections[name], *room, 0, 0)

    return (
        lambda layer: codec.encode_layer(0, *layer, 0),
        decode,
        lambda sections: sum(section.nbytes for section in sections.values()),
    )


def _planes(level: int) -> _Coder:
    """The top bytes under zstd; one byte below them as it is, and of float32 two more, as one plane."""
    writer, reader = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()

    def encode(layer: _Layer) -> list[tuple[bytes, list[np.ndarray]]]:
        coded = []
        for part in layer:
            bits = bits_of(part)
            top = (bits >> (8 * bits.itemsize - 8)).astype(np.uint8)
            low = [bits.astype(np.uint8)]
            if bits.itemsize == 4:
                low = [(bits >> 16).astype(np.uint8), bits.astype(np.uint16)]
            coded.append((writer.compress(top.data), low))
        return coded

    def decode(coded: list[tuple[bytes, list[np.ndarray]]], room: _Layer) -> None:
        for (top, low), out in zip(coded, room, strict=True):
            planes = bits_of(out)[..., None].view(np.uint8)
            planes[..., -1] = np.frombuffer(reader.decompress(top), np.uint8).reshape(out.shape)
            if len(low) == 2:
                planes[..., 2] = low[0]
            planes.view(low[-1].dtype)[..., 0] = low[-1]

    return encode, decode, lambda coded: sum(len(top) + sum(plane.nbytes for plane in low) for top, low in coded)


def _whole(write: Callable[[bytes], bytes], read: Callable[[bytes], bytes]) -> _Coder:
    """All bytes as they stand through one coder."""

    def decode(coded: list[bytes], room: _Layer) -> None:
        for each, out in zip(coded, room, strict=True):
            words = bits_of(out)
            words[...] = np.frombuffer(read(each), words.dtype).reshape(words.shape)

    return (
        lambda layer: [write(bits_of(part).tobytes()) for part in layer],
        decode,
        lambda coded: sum(map(len, coded)),
    )


_CODERS: dict[str, _Coder] = {
    "lossless": _ours(),
    "planes, zstd 1": _planes(1),
    "zstd 3": _whole(zstandard.ZstdCompressor(level=3).compress, zstandard.ZstdDecompressor().decompress),
    "memcpy": _whole(bytes, bytes),
}

if __name__ == "__main__":
    main()

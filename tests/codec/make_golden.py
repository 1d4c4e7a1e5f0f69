"""Writes golden/: frames and streams that every later release must decode alike. Never overwrites one.

Run as `python -m tests.codec.make_golden` after a codec was added; a changed format gets new file names.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from codec import (
    CacheGen,
    Frame,
    Int4,
    Int8,
    KVArray,
    Lossless,
    Profile,
    Transform,
    decode_chunk,
    encode_chunk,
    rans,
    register,
)
from codec.cachegen import LEVELS
from tests.codec.calibrated import LEVELS as TRANSFORM_LEVELS
from tests.codec.calibrated import profile_for
from tests.codec.rans_cases import laplace_tables, symbols_from
from tests.kv import SPEC, kv_of_any_bits, kv_of_mostly_numbers, kv_of_numbers

GOLDEN = Path(__file__).parent / "golden"
NUM_TOKENS, START = 5, 10
LOSSLESS_TOKENS = 29  # enough for coding to pay
INT4_TOKENS = 67  # a whole group of keys and a part
CACHEGEN_TOKENS = 23  # two whole groups and a part
TRANSFORM_TOKENS = 40  # enough for columns that are rounded to zero


def write(name, codec, kv, start=START):
    path = GOLDEN / f"{name}.safetensors"
    if path.exists():
        print(f"{path.name} is kept")
        return
    frame = encode_chunk(codec, kv, "0123456789abcdef" * 4, start)
    out = KVArray.empty(kv.spec, kv.num_tokens)
    decode_chunk(Frame(frame), out)
    path.write_bytes(frame)
    tensors = {f"{layer}.keys": keys for layer, keys in enumerate(out.keys)}
    tensors |= {f"{layer}.values": values for layer, values in enumerate(out.values)}
    save_file(tensors, GOLDEN / f"{name}.decoded.safetensors")
    print(f"{path.name} is written")


def golden_profile():
    """The profile that the golden frames of `transform` were coded with."""
    path = GOLDEN / "transform.profile.safetensors"
    if not path.exists():
        profile_for(SPEC).save(path)
    return register(Profile.load(path))


def write_stream(num_lanes):
    path = GOLDEN / f"rans-{num_lanes}.npz"
    if path.exists():
        print(f"{path.name} is kept")
        return
    tables, columns = laplace_tables(3, num_symbols=17), np.arange(13, dtype=np.uint8) % 3
    symbols = symbols_from(tables, columns, 29, seed=20260)
    stream = rans.encode(symbols, columns, tables, num_lanes)
    np.savez(path, frequencies=tables.frequencies, table_of_column=columns, symbols=symbols, stream=stream)
    print(f"{path.name} is written")


def main():
    GOLDEN.mkdir(exist_ok=True)
    for dtype in ("bfloat16", "float16", "float32"):
        spec = replace(SPEC, dtype=dtype)
        write(f"lossless-{dtype}", Lossless(), kv_of_mostly_numbers(spec, LOSSLESS_TOKENS, seed=20260))
        write(f"lossless-stored-{dtype}", Lossless(), kv_of_any_bits(spec, NUM_TOKENS, seed=20260))
        write(f"int8-{dtype}", Int8(), kv_of_numbers(spec, NUM_TOKENS, seed=20260))
        write(f"int4-{dtype}", Int4(), kv_of_numbers(spec, INT4_TOKENS, seed=20260))
        for level in LEVELS:
            write(f"cachegen-{level}-{dtype}", CacheGen(level), kv_of_numbers(spec, CACHEGEN_TOKENS, seed=20260))
        for quality in (*TRANSFORM_LEVELS, "progressive"):
            codec, kv = Transform(golden_profile(), quality), kv_of_numbers(spec, TRANSFORM_TOKENS, seed=20260)
            write(f"transform-{quality}-{dtype}", codec, kv, start=0)
    for num_lanes in rans.LANES:
        write_stream(num_lanes)


if __name__ == "__main__":
    main()

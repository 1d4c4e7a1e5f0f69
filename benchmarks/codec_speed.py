"""How fast do codecs code and decode: symbols, and whole chunks of a model's KV?

First the entropy stage alone, on drawn symbols (`benchmarks.entropy_speed`). Then whole frames of real KV, each
stage of `transform` by itself, beside zstd, memcpy and the prefill that decoding replaces (`benchmarks.chunk_speed`).
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.chunk_speed import chunk_speed
from benchmarks.codecs import profiles_from
from benchmarks.entropy_speed import entropy_speed
from benchmarks.report import parser, publish


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", default="", help="hub id or directory; the demo model where absent")
    options.add_argument("--profile", type=Path, action="append", default=[], help="of transform; else the model's own")
    arguments = options.parse_args()
    entropy_rows, entropy_checks = entropy_speed(arguments.quick)
    rows, checks = chunk_speed(arguments.model, profiles_from(arguments.profile), arguments.quick)
    publish("codec_speed", [*entropy_rows, *rows], [*entropy_checks, *checks], arguments.json)


if __name__ == "__main__":
    main()

"""The command: how many frames, which seed, where offending frames go."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bars import counting_progress
from tests.fuzz.run import batches_of, run
from tests.fuzz.worker import every_subject

SHARES = {
    "lossless": 8,
    "int8": 8,
    "int4": 8,
    "cachegen-high": 8,
    "cachegen-medium": 8,
    "cachegen-low": 8,
    "transform": 10,
    "transform-progressive": 6,
    "header": 5,
    "profile": 3,
    "rans": 28,
}


def main():
    arguments = _arguments()
    began = time.monotonic()
    batches = batches_of(arguments.seed, {name: SHARES[name] for name in arguments.subjects}, arguments.frames)
    until_s = None if arguments.minutes is None else began + 60 * arguments.minutes
    with counting_progress() as progress:
        task = progress.add_task(f"seed {arguments.seed}", total=sum(batch.end - batch.first for batch in batches))
        tallies = run(
            batches, every_subject, arguments.workers, lambda tally: progress.advance(task, tally.frames), until_s
        )
    took_s = time.monotonic() - began
    _print(tallies, took_s)
    findings = [finding for tally in tallies.values() for finding in tally.findings]
    for finding in findings:
        print(f"{finding.subject} {finding.index} of seed {finding.seed}: {finding.what}")
        arguments.findings.mkdir(parents=True, exist_ok=True)
        path = arguments.findings / f"{finding.subject}-{finding.seed}-{finding.index}"
        path.with_suffix(".bin").write_bytes(finding.content)
        path.with_suffix(".txt").write_text(f"{finding.what}\n")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(_report(arguments.seed, tallies, took_s), indent=2) + "\n")
    sys.exit(1 if findings else 0)


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every decoder.")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="stop then, however many frames are left")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--subjects", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"), help="where offending frames are saved")
    parser.add_argument("--json", type=Path, help="write the report here too")
    return parser.parse_args()


def _print(tallies, took_s):
    table = Table(title=f"{sum(tally.frames for tally in tallies.values()):,} frames in {took_s:.0f} s")
    for column in ("subject", "frames", "accepted", "refused", "slowest", "peak RSS", "findings"):
        table.add_column(column)
    for name, tally in tallies.items():
        refused = "\n".join(f"{error} {count:,}" for error, count in tally.refused.most_common())
        slowest, peak = f"{1e3 * tally.slowest_s:.0f} ms", f"{tally.peak_rss_bytes >> 20} MiB"
        table.add_row(
            name, f"{tally.frames:,}", f"{tally.accepted:,}", refused, slowest, peak, str(len(tally.findings))
        )
    Console().print(table)


def _report(seed, tallies, took_s):
    return {
        "seed": seed,
        "seconds": took_s,
        "subjects": {
            name: {
                "frames": tally.frames,
                "accepted": tally.accepted,
                "refused": dict(tally.refused),
                "slowest_s": tally.slowest_s,
                "slowest_index": tally.slowest_index,
                "peak_rss_bytes": tally.peak_rss_bytes,
                "findings": [{"index": finding.index, "what": finding.what} for finding in tally.findings],
            }
            for name, tally in tallies.items()
        },
    }


if __name__ == "__main__":
    main()

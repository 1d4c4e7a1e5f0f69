"""The command: how many rounds of each kind, which seed."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.bars import counting_progress
from tests.faults.flips import Flips
from tests.faults.kills import Kills
from tests.faults.power import PowerLosses
from tests.faults.rounds import run_rounds

KINDS = {"kills": Kills, "flips": Flips, "losses": PowerLosses}


def main():
    arguments = _arguments()
    report = {"seed": arguments.seed}
    with counting_progress() as progress:
        for kind, make in KINDS.items():
            first, number = arguments.first, getattr(arguments, kind)
            task = progress.add_task(f"{kind}, seed {arguments.seed}", total=number)
            began_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="kvstore-faults-", dir=arguments.directory) as directory:
                rounds, subject = range(first, first + number), make(Path(directory), arguments.seed)
                findings = run_rounds(kind, subject.attempt, rounds, lambda task=task: progress.advance(task))
            report[kind] = {
                "rounds": dict(Counter(map(subject.kind, rounds))),
                "seconds": round(time.monotonic() - began_s, 1),
                "findings": [asdict(finding) for finding in findings],
            }
    for finding in (finding for kind in KINDS for finding in report[kind]["findings"]):
        again = f"--seed {arguments.seed} --first {finding['round']} " + " ".join(
            f"--{kind} {int(kind == finding['kind'])}" for kind in KINDS
        )
        print(f"{finding['kind']} {finding['round']}: {finding['what']}\n  again: python -m tests.faults {again}")
    for kind in KINDS:
        print(f"{kind}: {report[kind]['rounds']} rounds, {len(report[kind]['findings'])} findings")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(any(report[kind]["findings"] for kind in KINDS))


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Kill, flip, cut the power.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--losses", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first round, to repeat one of a seed")
    parser.add_argument("--directory", type=Path, help="where stores are made; the system's directory for such")
    parser.add_argument("--json", type=Path, help="write the report here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""A process that opens a directory of answers: how long until the first one, and what it holds in memory (JSON)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from semantic_cache.answers import open_answers
from semantic_cache.query import Query
from semantic_cache.quota import Quotas
from semantic_cache.shelf import Shelf


def main() -> None:
    directory, fingerprint = Path(sys.argv[1]), sys.argv[2]
    asked = np.load(directory / "asked.npy")
    before_bytes, start_s, start_cpu_s = _anonymous_bytes(), time.perf_counter(), time.process_time()
    with open_answers(directory, fingerprint, len(asked)) as answers:
        shelf = Shelf(answers.documents, answers.index, Quotas(10**7, 1 << 40, lambda name: 1.0))
        query = Query("")
        assert list(shelf.read(query, shelf.near(query, asked, 1)))
        numbers = {
            "first_answer_s": time.perf_counter() - start_s,
            "first_answer_cpu_s": time.process_time() - start_cpu_s,
            "bytes_an_entry": (_anonymous_bytes() - before_bytes) / len(answers.index),
        }
    print(json.dumps(numbers))


def _anonymous_bytes() -> int:
    """Memory of this process that no file is behind (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()

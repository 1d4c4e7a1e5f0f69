"""GPTCache beside ours, where it is installed, in its own process."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

_VERSION = "import gptcache, sqlalchemy, faiss, cachetools; print(gptcache.__version__)"
THRESHOLDS = (0.8, 0.9, 0.95)
"""Its default, and those that people set. Of its score: cosines of .6, .8 and .9."""


class GPTCache(AbstractContextManager["GPTCache"]):
    def __init__(self, python: str, directory: Path, graph: Path) -> None:
        """`python` has it and what this project needs; the directory has a table of vectors."""
        # one thread, as ours: else CPU time is mostly that of threads of faiss that wait for each other
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.gptcache_process", str(directory), str(graph)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    @staticmethod
    def version(python: str) -> str | None:
        """None where it, or what it needs, is missing: it would install that by itself, so it is asked for before."""
        asked = subprocess.run([python, "-c", _VERSION], capture_output=True, text=True, check=False)
        return asked.stdout.strip() if asked.returncode == 0 else None

    def ask(self, do: str, **arguments: Any) -> Any:
        """Of `gptcache_process.Peer`, a method. Raises RuntimeError when it ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"GPTCache ended at {do!r}; its last words are above")
        return json.loads(line)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

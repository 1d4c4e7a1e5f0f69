"""How much sooner does vLLM's first token come when the prompt's KV is in the store?

Per prompt length, in seconds to the first token as vLLM measures it: computed in an engine without a connector;
again in the same engine, from vLLM's own prefix cache; and in engines started anew, with what an earlier one
has saved: ours from memory shared on the host, and from disk (dropped from the page cache), under each codec;
vLLM's ExampleConnector from disk (likewise); and, where it is installed, LMCache's server, from its memory and from
its files. Medians over prompts that share nothing. Every engine is bound to
the same threads.

With nothing to reuse: the same unseen prompts to an engine without a connector and to one with ours, in pairs,
each when the other, and the saving, has come to rest. And a mixed load: requests all at once, of which a share
begins alike; ours starts with what an earlier engine has saved of the shared beginning.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.progress import Progress
from transformers import AutoTokenizer

from benchmarks.disk_directory import disk_bytes, wait_for_saves
from benchmarks.lmcache_server import LMCacheServer
from benchmarks.report import Check, at_least, at_most, interval_of_median, parser, publish
from benchmarks.vllm_engine import Answer, Engine
from connectors.hf.models import demo_model_dir, fast_dtype
from connectors.hf.prompts import shipped_document
from connectors.page_cache import drop_from_page_cache

_GIB = 1 << 30
_OWN = "vLLM's prefix cache"
_BLOCK, _REST_S = 128, 2.0
_SOONER = {"2000 tokens": 9.0, "4000 tokens": 25.0}
_Prompts: TypeAlias = Mapping[int, Sequence[list[int]]]
_Answers: TypeAlias = Mapping[int, Sequence[Answer]]
_SHIFT = 41  # tokens between the beginnings of two prompts: no chunk of them is alike
_MIXED, _MIXED_TOKENS, _MIXED_ANSWER = 64, 512, 16


class Bench:
    """Engines over one model, and the prompts they are given."""

    def __init__(self, arguments: argparse.Namespace, disk: Path, shared: Path, progress: Progress) -> None:
        self.model = Path(arguments.model) if arguments.model else demo_model_dir()
        self.dtype = str(fast_dtype()).removeprefix("torch.") if arguments.dtype == "auto" else arguments.dtype
        self.lengths = [int(length) for length in arguments.prompts.split(",") if length]
        self.repeats, self.pairs = arguments.repeats, arguments.pairs
        self.disk, self._shared = disk, shared
        self._text: list[int] = AutoTokenizer.from_pretrained(self.model)(shipped_document()).input_ids
        self._progress, self._task = progress, progress.add_task("", total=None)
        self._next = 0

    def engine(self, name: str, connector: Mapping[str, Any] | None) -> Engine:
        self._progress.update(self._task, description=name)
        longest = max([*self.lengths, _MIXED_TOKENS]) + _MIXED_ANSWER
        engine = Engine(self.model, self.dtype, connector, max_model_len=longest, max_num_batched_tokens=longest)
        engine.generate([list(range(100, 200))] * 2)
        return engine

    def ours(self, codec: str, directory: str, **settings: Any) -> dict[str, Any]:
        """The connector over a store of that name: on disk, and in shared memory where there is a capacity for it."""
        given = {
            "store.path": str(self.disk / directory),
            "store.codec": codec,
            "store.load": "always",
            "memory.capacity_bytes": 0,
            "disk.capacity_bytes": 16 * _GIB,
            "shared.path": str(self._shared / directory),
            **settings,
        }
        return {"kv_connector": "KVStoreConnector", "kv_role": "kv_both", "kv_connector_extra_config": given}

    def saved(self, directory: str) -> None:
        wait_for_saves(self.disk / directory)

    def prompt(self, length: int) -> list[int]:
        """One that shares no beginning with any before."""
        self._next += 1
        start = self._next * _SHIFT % (len(self._text) - length)
        return [5000 + self._next, *self._text[start : start + length - 1]]

    def prompts(self) -> dict[int, list[list[int]]]:
        return {length: [self.prompt(length) for _ in range(self.repeats)] for length in self.lengths}


def main() -> None:
    arguments = _arguments()
    with (
        Progress() as progress,
        tempfile.TemporaryDirectory(dir=arguments.path, prefix="kvstore-vllm-") as disk,
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="kvstore-vllm-") as shared,
    ):
        bench = Bench(arguments, Path(disk), Path(shared), progress)
        rows = _ttft(bench, [codec for codec in arguments.codecs.split(",") if codec]) if bench.lengths else []
        rows += _overhead(bench) if bench.pairs and bench.lengths else []
        rows += _mixed(bench) if arguments.mixed else []
    publish("vllm_ttft", rows, _checks(rows), arguments.json)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", help="directory; the demo model where absent")
    options.add_argument("--dtype", default="auto", help="of weights and KV; auto: bfloat16 where that is fast")
    options.add_argument("--prompts", default="1000,2000,4000", help="tokens of each prompt; '': only mixed load")
    options.add_argument("--codecs", default="transform,lossless,int8", help="transform needs the model's own profile")
    options.add_argument("--repeats", type=int, default=3, help="prompts of each length")
    options.add_argument("--pairs", type=int, default=12, help="of unseen prompts, with the store and without")
    options.add_argument("--no-mixed", dest="mixed", action="store_false", help="leave the mixed load out")
    options.add_argument("--path", type=Path, default=Path(), help="a directory on the disk to measure")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.prompts, arguments.codecs, arguments.repeats = "512", "int8", 1
        arguments.pairs, arguments.mixed = 0, False
    return arguments


def _ttft(bench: Bench, codecs: Sequence[str]) -> list[dict[str, Any]]:
    prompts = bench.prompts()
    with bench.engine("no connector", None) as engine:
        computed = _pass(engine, prompts)
        own = _pass(engine, prompts)
    rows = _rows("no connector", "computed", "", computed, computed, own)
    rows += _rows("no connector", _OWN, "", own, computed, own)
    for codec in codecs:
        both = bench.ours(codec, codec, **{"shared.capacity_bytes": 4 * _GIB})
        with bench.engine(f"{codec}, saving", both) as engine:
            saving = _pass(engine, prompts)
        bench.saved(codec)
        rows += _rows("kvstore", "computed, saved", codec, saving, computed, own)
        num_bytes = disk_bytes(bench.disk / codec / "segments") / _stored_tokens(prompts)
        with bench.engine(f"{codec}, shared memory", both) as engine:
            rows += _rows("kvstore", "shared memory", codec, _pass(engine, prompts), computed, own, num_bytes)
        bench.saved(codec)
        drop_from_page_cache(bench.disk / codec)
        with bench.engine(f"{codec}, disk", bench.ours(codec, codec)) as engine:
            rows += _rows("kvstore", "disk", codec, _pass(engine, prompts), computed, own, num_bytes)
        bench.saved(codec)
    rows += _example(bench, prompts, computed, own)
    if not LMCacheServer.installed():
        print("LMCache is not installed: left out")
        return rows
    return rows + _lmcache(bench, prompts, computed, own)


def _example(bench: Bench, prompts: _Prompts, computed: _Answers, own: _Answers) -> list[dict[str, Any]]:
    """vLLM's own connector to a directory: whole prompts, uncompressed."""
    directory = bench.disk / "example"
    config = {
        "kv_connector": "ExampleConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"shared_storage_path": str(directory)},
    }
    with bench.engine("ExampleConnector, saving", config) as engine:
        rows = _rows("ExampleConnector", "computed, saved", "", _pass(engine, prompts), computed, own)
    drop_from_page_cache(directory)
    num_bytes = disk_bytes(directory) / _stored_tokens(prompts)
    with bench.engine("ExampleConnector, disk", config) as engine:
        return rows + _rows("ExampleConnector", "disk", "", _pass(engine, prompts), computed, own, num_bytes)


def _lmcache(bench: Bench, prompts: _Prompts, computed: _Answers, own: _Answers) -> list[dict[str, Any]]:
    """Uncompressed. From memory: a new engine at the same server; from files: a new server too."""
    directory, log = bench.disk / "lmcache", bench.disk / "lmcache.log"
    with LMCacheServer(directory, log, _BLOCK) as server:
        with bench.engine("LMCache, saving", server.connector) as engine:
            rows = _rows("LMCache", "computed, saved", "", _pass(engine, prompts), computed, own)
        time.sleep(_REST_S)
        with bench.engine("LMCache, memory", server.connector) as engine:
            rows += _rows("LMCache", "memory", "", _pass(engine, prompts), computed, own)
    drop_from_page_cache(directory)
    num_bytes = disk_bytes(directory) / _stored_tokens(prompts)
    with LMCacheServer(directory, log, _BLOCK) as server, bench.engine("LMCache, disk", server.connector) as engine:
        return rows + _rows("LMCache", "disk", "", _pass(engine, prompts), computed, own, num_bytes)


def _pass(engine: Engine, prompts: _Prompts) -> _Answers:
    """One prompt after the other."""
    return {length: [engine.generate([prompt])[0] for prompt in given] for length, given in prompts.items()}


def _rows(
    system: str,
    source: str,
    codec: str,
    answers: _Answers,
    computed: _Answers,
    own: _Answers,
    bytes_per_token: float | None = None,
) -> list[dict[str, Any]]:
    def row(length: int) -> dict[str, Any]:
        seconds, first, second = (_median(which[length]) for which in (answers, computed, own))
        same = [ours.token_ids == theirs.token_ids for ours, theirs in zip(answers[length], own[length], strict=True)]
        return {
            "corpus": f"{length} tokens",
            "system": system,
            "source": source,
            "codec": codec,
            "first_token_s": seconds,
            "sooner": first / seconds,
            "of_own_cache": seconds / second,
            "cached": min(answer.cached for answer in answers[length]),
            "bytes_per_token": bytes_per_token,
            "same_first_token": all(same),
        }

    return [row(length) for length in answers]


def _median(answers: Sequence[Answer]) -> float:
    return statistics.median(answer.first_token_s for answer in answers)


def _stored_tokens(prompts: _Prompts) -> int:
    return sum(length // _BLOCK * _BLOCK * len(given) for length, given in prompts.items())


def _overhead(bench: Bench) -> list[dict[str, Any]]:
    """Unseen prompts with ours and without, in pairs, of 1,000 tokens or the shortest length."""
    length = min(max(min(bench.lengths), 1000), max(bench.lengths))
    ratios: list[float] = []
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with bench.engine("no connector", None) as without, bench.engine("ours", bench.ours("lossless", "unseen")) as ours:
        engines = {"with": ours, "without": without}
        for pair in range(bench.pairs):
            prompt = bench.prompt(length)
            for name in list(engines)[:: 1 if pair % 2 else -1]:
                seconds[name].append(engines[name].generate([prompt])[0].first_token_s)
                time.sleep(_REST_S)
            ratios.append(seconds["with"][-1] / seconds["without"][-1])
    bench.saved("unseen")
    return [
        {
            "corpus": "nothing to reuse",
            "prompt_tokens": length,
            "pairs": bench.pairs,
            "without_s": statistics.median(seconds["without"]),
            "with_s": statistics.median(seconds["with"]),
            "overhead": statistics.median(ratios) - 1,
            **interval_of_median([ratio - 1 for ratio in ratios]),
        }
    ]


def _mixed(bench: Bench) -> list[dict[str, Any]]:
    """Requests all at once, of which a share begins with the same half of its tokens."""
    rows = []
    for share in (0.0, 0.5, 0.9):
        beginning = bench.prompt(_MIXED_TOKENS // 2)
        prompts = [
            beginning + bench.prompt(_MIXED_TOKENS // 2) if number < share * _MIXED else bench.prompt(_MIXED_TOKENS)
            for number in range(_MIXED)
        ]
        store = bench.ours("lossless", f"mixed {share}", **{"shared.capacity_bytes": 4 * _GIB})
        with bench.engine("mixed load, saving", store) as engine:
            engine.generate([beginning])
        bench.saved(f"mixed {share}")
        seconds = {}
        for name, connector in (("without_s", None), ("with_s", store)):
            with bench.engine(f"mixed load, {name}", connector) as engine:
                begun_s = time.perf_counter()
                engine.generate(prompts, _MIXED_ANSWER)
                seconds[name] = time.perf_counter() - begun_s
        bench.saved(f"mixed {share}")
        ratio = seconds["without_s"] / seconds["with_s"]
        rows.append({"corpus": "mixed load", "requests": _MIXED, "alike": share, **seconds, "throughput": ratio})
    return rows


def _checks(rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    loaded = [row for row in rows if row.get("system") == "kvstore" and row["source"] == "disk"]
    unseen = [row for row in rows if row["corpus"] == "nothing to reuse"]
    return [
        *(check for row in loaded for check in _checks_of(row)),
        *(check for row in loaded if row["codec"] == "transform" for check in _against_others(row, rows)),
        *(at_most("nothing to reuse: later first token", row["overhead"], 0.01) for row in unseen),
    ]


def _against_others(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Sooner than LMCache, from its files and from its memory, and smaller than vLLM's own connector's files."""
    checks, name = [], f"{row['codec']}, {row['corpus']}, from disk"
    for other in rows:
        if other["corpus"] == row["corpus"] and other.get("cached"):
            if other["system"] == "LMCache":
                ratio = row["first_token_s"] / other["first_token_s"]
                checks.append(at_most(f"{name}: of LMCache's, {other['source']}", ratio, 1.0))
            elif other["system"] == "ExampleConnector":
                ratio = other["bytes_per_token"] / row["bytes_per_token"]
                checks.append(at_least(f"{name}: bytes, ExampleConnector's of ours", ratio, 4.0))
    return checks


def _checks_of(row: Mapping[str, Any]) -> list[Check]:
    name = f"{row['codec']}, {row['corpus']}, from disk"
    if row["codec"] != "transform":
        return [at_most(f"{name}: of vLLM's own cache", row["of_own_cache"], 1.25)]
    checks = [at_most(f"{name}: of vLLM's own cache", row["of_own_cache"], 1.7, 1.25)]
    if (bar := _SOONER.get(row["corpus"])) is not None:
        checks.append(at_least(f"{name}: sooner than computed", row["sooner"], bar))
    return checks


if __name__ == "__main__":
    main()

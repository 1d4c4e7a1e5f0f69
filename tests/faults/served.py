"""A served engine under random faults: `python -m tests.faults.served --minutes 10`.

Prompts of the evaluation data go to `vllm serve` with the store behind it, one after the other and sometimes several
at once, while its files are flipped, cut and deleted, its directory is emptied, its process stopped for seconds,
and its budget is so small that it evicts. Every answer is compared with that of an engine without the store whose
own prefix cache held as many tokens of the prompt: the store is coded without loss, so they are equal.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transformers import AutoTokenizer

from connectors.hf.corpora import musique
from connectors.hf.models import demo_model_dir
from tests.bars import counting_progress
from tests.connectors.vllm.real_engine import BLOCK, connector, engine
from tests.connectors.vllm.real_server import Server
from tests.real import DATA

_LONGEST, _ANSWER = 640, 8
_HELD_BYTES = 150_000_000  # some thirty prompts


class Reference:
    """Answers of an engine alone, by prompt and how many of its tokens were cached."""

    def __init__(self, alone, tokenizer):
        self._alone, self._tokenizer, self._known = alone, tokenizer, {}

    def answer(self, prompt, cached):
        if (tuple(prompt), cached) not in self._known:
            self._alone.forget()
            if cached:
                self._alone.generate([prompt[: cached + 1]])
            (answer,) = self._alone.generate([prompt], _ANSWER, ignore_eos=False)
            assert answer.cached == cached, f"asked for {cached} cached tokens, had {answer.cached}"
            text = self._tokenizer.decode(answer.token_ids, skip_special_tokens=True)
            self._known[tuple(prompt), cached] = text
        return self._known[tuple(prompt), cached]


class Faults:
    """Things that happen to a store in use."""

    def __init__(self, directory, server, choose):
        self._directory, self._server, self._choose = directory, server, choose
        self.kinds = [self.flip, self.cut, self.delete, self.empty, self.stop, self.nothing, self.nothing]

    def happen(self):
        fault = self._choose.choice(self.kinds)
        with contextlib.suppress(OSError):
            fault()
        return fault.__name__

    def _segment(self):
        return self._choose.choice(list(self._directory.glob("segments/*.seg")) or [self._directory / "none"])

    def flip(self):
        with self._segment().open("r+b") as file:
            for _ in range(20):
                place = self._choose.randrange(os.fstat(file.fileno()).st_size)
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << self._choose.randrange(8)]))

    def cut(self):
        segment = self._segment()
        os.truncate(segment, self._choose.randrange(segment.stat().st_size))

    def delete(self):
        self._segment().unlink()

    def empty(self):
        shutil.rmtree(self._directory / "segments")

    def stop(self):
        """For three seconds, during which it answers nobody."""
        for process in self._server.store_processes():
            os.kill(process, signal.SIGSTOP)
            threading.Timer(3, os.kill, (process, signal.SIGCONT)).start()

    def nothing(self):
        return


def main():
    arguments = _arguments()
    choose, tokenizer = random.Random(arguments.seed), AutoTokenizer.from_pretrained(demo_model_dir())
    texts = [passages.text for passages in musique(DATA / "rag/musique_100.json")]
    prompts = [
        tokenizer(text).input_ids[start : start + choose.randrange(BLOCK + 2, _LONGEST)]
        for text in texts
        for start in (0, _LONGEST)
    ]
    prompts = [prompt for prompt in prompts if len(prompt) > BLOCK + 1]
    directory = Path(tempfile.mkdtemp(prefix="kvstore-served-", dir=arguments.directory))
    settings = {"disk.capacity_bytes": _HELD_BYTES, "memory.capacity_bytes": _HELD_BYTES // 4}
    counts, findings = Counter(), []
    with (directory / "log").open("w") as log, engine() as alone, counting_progress() as progress:
        server = Server(connector(directory / "store", **settings), log)
        server.wait()
        reference, faults = Reference(alone, tokenizer), Faults(directory / "store", server, choose)
        task = progress.add_task("seconds", total=60 * arguments.minutes)
        began_s = time.monotonic()
        while (elapsed_s := time.monotonic() - began_s) < 60 * arguments.minutes:
            progress.update(task, completed=elapsed_s)
            counts[f"fault {faults.happen()}"] += 1
            if choose.random() < 0.5:
                server.forget()
            findings += _together(server, choose.choices(prompts, k=4), counts) if choose.random() < 0.2 else []
            findings += _alone(server, choose.choice(prompts[:60]), reference, counts)
        hits = server.counter("external_prefix_cache_hits")
        server.stop()
    report = {"seed": arguments.seed, "counts": dict(counts), "tokens_loaded": hits, "findings": findings}
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(bool(findings))


def _alone(server, prompt, reference, counts):
    try:
        text, cached = server.answer(prompt, _ANSWER)
    except Exception as error:  # reported, whatever it is
        return [f"{type(error).__name__}: {error}"]
    counts["answers"] += 1
    counts["tokens cached"] += cached
    expected = reference.answer(prompt, cached)
    return [] if text == expected else [f"{text!r} where {expected!r} is right; {cached} of {len(prompt)} cached"]


def _together(server, prompts, counts):
    """At once: their answers depend on whom they are computed with, so only that they come is looked at."""
    with ThreadPoolExecutor(len(prompts)) as clients:
        answers = [clients.submit(server.answer, prompt, _ANSWER) for prompt in prompts]
    counts["answers together"] += len(prompts)
    return [repr(answer.exception()) for answer in answers if answer.exception() is not None]


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.served", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="where the store is made; the system's directory for such")
    parser.add_argument("--json", type=Path, help="write the report here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()

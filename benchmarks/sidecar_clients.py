"""Clients: processes that ask one server the same thing over and over, each at its own pace, and time every answer.

A process reads its task from stdin, answers when it has connected, starts when it is told to, and writes what the task
came to on stdout, all as lines of JSON. What is asked is one of WAYS.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any

import xxhash

from benchmarks.http_connection import HttpConnection

_BUFFER_BYTES = 8 << 20
_LEASE_S = 30.0
_PROMPT_CHUNKS = 32
Step = tuple[str, int]
"""What was done, and how many bytes of frames that moved."""


@dataclass(frozen=True)
class Task:
    """What to ask, for `seconds`."""

    way: str
    address: tuple[str, int] | str
    keys: Sequence[str]
    seconds: float
    least_steps: int = 1
    """That are done, however long they take."""
    frames: str = ""
    """The directory with the frames in files."""
    target: str = "/{key}"
    """Where a key is asked for, and put, behind the `{parent}` before it in its prompt."""
    bodies: str = ""
    """A file of requests, one a line, instead of keys."""
    seed: int = 0


@dataclass(frozen=True)
class Done:
    """What a task came to: the seconds of every step, by what it was; they took `seconds` all together."""

    step_s: Mapping[str, list[float]]
    num_bytes: int
    seconds: float

    @property
    def gb_s(self) -> float:
        return self.num_bytes / self.seconds / 1e9


def _connected(task: Task) -> HttpConnection:
    address = task.address if isinstance(task.address, str) else (task.address[0], task.address[1])
    return HttpConnection(address, _BUFFER_BYTES)


def _gets(task: Task) -> Iterator[Step]:
    with _connected(task) as connection:
        for key in cycle(task.keys):
            answer = connection.ask("GET", task.target.format(key=key))
            _require(answer.status == 200, f"GET of {key} was answered with {answer.status}")
            yield "get", len(answer.body)


def _checked_gets(task: Task) -> Iterator[Step]:
    with _connected(task) as connection:
        for key in cycle(task.keys):
            answer = connection.ask("GET", task.target.format(key=key))
            _require(xxhash.xxh3_128_hexdigest(answer.body) == answer.xxh3, f"{key} is not what its checksum says")
            yield "get", len(answer.body)


def _puts(task: Task) -> Iterator[Step]:
    contents = {key: _content(task, key) for key in task.keys}
    headers = {key: f"Kvstore-Xxh3: {xxhash.xxh3_128_hexdigest(content)}\r\n" for key, content in contents.items()}
    with _connected(task) as connection:
        for place, key in cycle(enumerate(task.keys)):
            parent = f"parent={task.keys[place - 1]}&" if place % _PROMPT_CHUNKS else ""
            target = task.target.format(key=key, parent=parent)
            answer = connection.ask("PUT", target, contents[key], headers[key])
            _require(answer.status == 201, f"PUT of {key} was answered with {answer.status}")
            yield "put", len(contents[key])


def _redis_gets(task: Task) -> Iterator[Step]:
    server = _redis(task)
    for key in cycle(task.keys):
        value = server.get(key)
        _require(value is not None, f"Redis has no {key}")
        yield "get", len(value)


def _redis_sets(task: Task) -> Iterator[Step]:
    server, contents = _redis(task), {key: _content(task, key) for key in task.keys}
    for key in cycle(task.keys):
        _require(server.set(key, contents[key]), f"Redis did not take {key}")
        yield "put", len(contents[key])


def _redis(task: Task) -> Any:
    import redis  # the `dev` extra has it

    if isinstance(task.address, str):
        return redis.Redis(unix_socket_path=task.address)
    return redis.Redis(task.address[0], task.address[1])


def _descriptors(task: Task, read: Callable[[str, int, memoryview], object], prompt_chunks: int) -> Iterator[Step]:
    """A prompt at a time: where its frames lie, leased; then read there, checked, and released."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    prompts = [task.keys[start : start + prompt_chunks] for start in range(0, len(task.keys), prompt_chunks)]
    with _connected(task) as connection:
        for prompt in cycle(prompts):
            asked = json.dumps({"keys": prompt, "lease_s": _LEASE_S}).encode()
            answer = connection.ask("POST", "/v1/descriptors", asked, "Content-Type: application/json\r\n")
            found = json.loads(bytes(answer.body))
            num_bytes = 0
            for frame in found["frames"]:
                place = buffer[: frame["size_bytes"]]
                read(frame["path"], frame["offset"], place)
                _require(xxhash.xxh3_128_hexdigest(place) == frame["xxh3"], f"{frame['key']} is not there")
                num_bytes += len(place)
            connection.ask("DELETE", f"/v1/leases/{found['lease']['id']}")
            _require(found["held"] == len(prompt), "not all of a prompt is held")
            yield "descriptors", num_bytes


def _copied(path: str, offset: int, place: memoryview) -> None:
    """From where the file is mapped. Segments are unlinked, and never cut below what is held in them."""
    place[:] = _mapped(path)[offset : offset + len(place)]


@lru_cache(64)
def _mapped(path: str) -> memoryview:
    with Path(path).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def _read(path: str, offset: int, place: memoryview) -> None:
    os.preadv(_opened(path), [place], offset)


@lru_cache(64)
def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY)


def _matches(task: Task) -> Iterator[Step]:
    bodies = Path(task.bodies).read_bytes().splitlines()
    random.Random(task.seed).shuffle(bodies)
    with _connected(task) as connection:
        for body in cycle(bodies):
            answer = connection.ask("POST", "/v1/match", body, "Content-Type: application/json\r\n")
            _require(json.loads(bytes(answer.body))["held"] == _PROMPT_CHUNKS, "not all of a prompt is held")
            yield "match", 0


def _mixture(task: Task) -> Iterator[Step]:
    """Puts, gets, matches and deletions at random, by all clients of the same keys. What is read is checked."""
    chosen = random.Random(task.seed)
    contents = {key: _content(task, key) for key in task.keys}
    digests = {key: xxhash.xxh3_128_hexdigest(content) for key, content in contents.items()}
    kinds = ["put"] * 30 + ["get"] * 45 + ["match"] * 20 + ["delete"] * 5
    with _connected(task) as connection:
        while True:
            kind, place = chosen.choice(kinds), chosen.randrange(len(task.keys))
            key = task.keys[place]
            if kind == "put":
                parent = f"?parent={task.keys[place - 1]}" if place % 4 else ""
                target = f"/v1/frames/{key}{parent}"
                answer = connection.ask("PUT", target, contents[key], f"Kvstore-Xxh3: {digests[key]}\r\n")
            elif kind == "match":
                asked = json.dumps({"keys": task.keys[place // 4 * 4 :][:4], "lease_s": chosen.choice([0, 1])}).encode()
                answer = connection.ask("POST", "/v1/match", asked, "Content-Type: application/json\r\n")
            else:
                answer = connection.ask(kind.upper(), f"/v1/frames/{key}")
            if kind == "get" and answer.status == 200 and xxhash.xxh3_128_hexdigest(answer.body) != digests[key]:
                yield "wrong", 0
            moves = (kind, answer.status) in (("put", 201), ("get", 200))
            yield f"{kind} {answer.status}", len(contents[key]) if moves else 0


WAYS: Mapping[str, Callable[[Task], Iterator[Step]]] = {
    "get": _gets,
    "checked get": _checked_gets,
    "put": _puts,
    "Redis get": _redis_gets,
    "Redis set": _redis_sets,
    "descriptors": partial(_descriptors, read=_copied, prompt_chunks=_PROMPT_CHUNKS),
    "descriptors, read": partial(_descriptors, read=_read, prompt_chunks=_PROMPT_CHUNKS),
    "one descriptor": partial(_descriptors, read=_copied, prompt_chunks=1),
    "match": _matches,
    "mixture": _mixture,
}


def _content(task: Task, key: str) -> memoryview:
    """A frame, where the page cache has its file."""
    with (Path(task.frames) / key).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise RuntimeError(complaint)


def run(task: Task, ready: Callable[[], object]) -> Done:
    """Does the first step, which connects, then waits until `ready` returns and goes on for the task's time."""
    steps = WAYS[task.way](task)
    next(steps)
    ready()
    step_s: defaultdict[str, list[float]] = defaultdict(list)
    num_bytes, begin = 0, time.perf_counter()
    now_s = before_s = begin
    for number, (what, moved) in enumerate(steps, 1):
        now_s = time.perf_counter()
        step_s[what].append(now_s - before_s)
        num_bytes, before_s = num_bytes + moved, now_s
        if number >= task.least_steps and now_s > begin + task.seconds:
            break
    return Done(dict(step_s), num_bytes, now_s - begin)


class ClientProcess(AbstractContextManager["ClientProcess"]):
    """Give it a task with `prepare`, let all clients `start`, then wait for `done`. Raises EOFError when it dies."""

    def __init__(self, cores: set[int]) -> None:
        """It runs on these, whatever it asks."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sidecar_clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        os.sched_setaffinity(self._process.pid, cores)

    def prepare(self, task: Task) -> None:
        """Returns when it has connected and been answered once."""
        self._say(json.dumps(asdict(task)))
        self._hear()

    def start(self) -> None:
        self._say("go")

    def done(self) -> Done:
        return Done(**json.loads(self._hear()))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("a client died; it has said why")
        return line

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def main() -> None:
    def ready() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(asdict(run(Task(**json.loads(line)), ready))), flush=True)


if __name__ == "__main__":
    main()

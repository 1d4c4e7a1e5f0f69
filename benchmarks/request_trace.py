"""Traces of requests as block ids: Mooncake's files, and chats made up where there are none."""

from __future__ import annotations

import json
import random
from pathlib import Path

Requests = list[list[int]]
"""Of each request its blocks' ids, first to last. Equal ids: the same tokens, and the same before them."""


def read_requests(file: Path) -> Requests:
    """A JSON line for each request, its blocks under `hash_ids` (Mooncake; Qwen-Bailian).

    Raises ValueError naming the line that is not like that.
    """
    requests = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            blocks = json.loads(line)["hash_ids"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number}: no JSON object with hash_ids") from error
        requests.append(list(dict.fromkeys(blocks)))
    return requests


def made_up_chats(num_requests: int, seed: int = 0) -> Requests:
    """Chats of some turns under one of a few system prompts, many open at a time; most never go on."""
    choose = random.Random(seed)
    fresh = iter(range(1 << 40))
    systems = [[next(fresh) for _ in range(choose.randint(1, 4))] for _ in range(8)]
    chats: list[list[int]] = []
    requests = []
    for _ in range(num_requests):
        recent = chats[-200:]
        goes_on = recent and choose.random() < 0.4
        chat = choose.choice(recent) if goes_on else list(systems[min(int(choose.expovariate(0.7)), 7)])
        chat = chat + [next(fresh) for _ in range(1 + int(choose.expovariate(0.1)))]
        chats.append(chat)
        requests.append(chat)
    return requests

"""What the engine and the store's process say to each other, over a socket that only they have.

A message is JSON, a line feed, and token ids as little-endian uint32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from connectors.vllm.owner import Owner
from kvstore import LoRA, Multimodal


def send(connection: Connection, kind: str, tokens: Sequence[int] = (), **fields: Any) -> None:
    """Raises OSError when the other side is gone."""
    packed = np.asarray(tokens, "<u4").tobytes()
    connection.send_bytes(json.dumps({"kind": kind, **fields}).encode() + b"\n" + packed)


def receive(connection: Connection) -> tuple[str, dict[str, Any], list[int]]:
    """Kind, fields and tokens of the next message. Raises EOFError, or OSError, when the other side is gone."""
    head, _, packed = connection.recv_bytes().partition(b"\n")
    fields = json.loads(head)
    return fields.pop("kind"), fields, np.frombuffer(packed, "<u4").tolist()


def incoming(connection: Connection) -> Iterator[tuple[str, dict[str, Any], list[int]]]:
    """Messages as they come, until the other side is gone."""
    while True:
        try:
            message = receive(connection)
        except (EOFError, OSError):
            return
        yield message


def owner_to_json(owner: Owner) -> dict[str, Any]:
    return asdict(owner)


def owner_from_json(fields: dict[str, Any]) -> Owner:
    lora = fields["lora"]
    parts = tuple(Multimodal(**part) for part in fields["multimodal"])
    return Owner(fields["tenant"], None if lora is None else LoRA(**lora), parts)

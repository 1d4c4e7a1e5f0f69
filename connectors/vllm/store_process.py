"""The store's process: holds the KVStore of one engine, and does what `store_client.py` asks for.

Reading, decoding, encoding and writing happen here, so that none of it takes the interpreter, or the life, of the
engine's processes. When the engine is gone, what it gave to be saved is saved, and then this ends.

    python -m connectors.vllm.store_process DESCRIPTOR
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from codec import Frame, KVArray, KVSpec, decode_chunk, encode_chunk
from connectors.niceness import go_last
from connectors.settings import build_store, load_settings
from connectors.vllm.messages import incoming, owner_from_json, receive, send
from connectors.vllm.owner import Owner
from connectors.vllm.staging import Shared, Staging
from kvstore import Identity, KVStore, PrefixMatch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Rank:
    """A worker's share of the model, and the memory it shares with us."""

    spec: KVSpec
    staging: Staging

    def rooms(self, slots: Sequence[int]) -> list[KVArray]:
        return [self.staging.slots[slot] for slot in slots]


@dataclass
class _Found:
    matches: list[PrefixMatch]
    """One for each rank."""
    forgotten: threading.Event = field(default_factory=threading.Event)


class StoreProcess:
    """Serves one engine until it closes the connection."""

    def __init__(self, connection: Connection, store: KVStore, ranks: Sequence[_Rank]) -> None:
        self._connection, self._store, self._ranks = connection, store, ranks
        self._found: dict[str, _Found] = {}
        self._sending = threading.Lock()
        self._loader = ThreadPoolExecutor(1, "kvstore-load")
        self._saver = ThreadPoolExecutor(1, "kvstore-save", initializer=go_last)
        self._handlers = {
            "find": self._find,
            "load": self._load,
            "save": self._save,
            "forget": self._forget,
            "computed": self._computed,
            "prompt_computed": self._prompt_computed,
        }

    def serve(self) -> None:
        """Returns when the engine has closed its end, and all it gave is saved."""
        try:
            for kind, fields, tokens in incoming(self._connection):
                self._handlers[kind](fields, tokens)
        finally:
            for found in self._found.values():
                found.forgotten.set()
            self._loader.shutdown()
            self._saver.shutdown()

    def _reply(self, kind: str, **fields: Any) -> None:
        with self._sending:
            try:
                send(self._connection, kind, **fields)
            except OSError:
                _log.debug("nobody is there to be told: %s %s", kind, fields)

    def _identity(self, rank: _Rank, owner: Owner) -> Identity:
        return self._store.identity(rank.spec, owner.tenant, owner.lora)

    def _find(self, fields: dict[str, Any], tokens: Sequence[int]) -> None:
        held = 0
        try:
            owner = owner_from_json(fields["owner"])
            matches = [self._store.match(self._identity(rank, owner), tokens, owner.multimodal) for rank in self._ranks]
            held = min(len(match.keys) for match in matches)
            self._found[fields["request"]] = _Found([match.first(held) for match in matches])
        except Exception:  # whatever it is, the next one is answered
            self._store.metrics.count("finds_failed")
            _log.exception("finding a prompt of %d tokens failed", len(tokens))
        self._reply("found", request=fields["request"], held=held)

    def _forget(self, fields: dict[str, Any], _: Sequence[int]) -> None:
        if (found := self._found.pop(fields["request"], None)) is not None:
            found.forgotten.set()

    def _load(self, fields: dict[str, Any], _: Sequence[int]) -> None:
        self._loader.submit(partial(self._load_now, self._found[fields["request"]], **fields))

    def _load_now(self, found: _Found, request: str, start: int, num_tokens: int, slots: Sequence[int]) -> None:
        held, loaded = start // self._store.chunk_tokens, 0
        try:
            matches = [match.behind(start).first(len(slots)) for match in found.matches]
            planned = min(len(self._store.plan(match, num_tokens).keys) for match in matches)
            loaded = self._load_ranks([match.first(planned) for match in matches], slots, num_tokens, found.forgotten)
            held = len(found.matches[0].keys) if loaded == planned else held + loaded
        except Exception:  # whatever it is, the engine computes, and the next one is tried
            self._store.metrics.count("loads_failed")
            _log.exception("loading %d chunks failed", len(slots))
        self._reply("loaded", request=request, loaded=loaded, held=held, counts=self._store.metrics.snapshot())

    def _load_ranks(
        self, matches: Sequence[PrefixMatch], slots: Sequence[int], num_tokens: int, forgotten: threading.Event
    ) -> int:
        """How many chunks every rank has now. It ends when computing would have been sooner, or nobody wants them."""
        rest = [
            self._store.cost.computing_s(match.identity.spec.fingerprint(), num_tokens, match.start)
            for match in matches
        ]
        until_s = time.monotonic() + min(rest)

        def stopped() -> bool:
            return forgotten.is_set() or time.monotonic() > until_s

        return min(
            self._store.load_chunks(match, rank.rooms(slots), stopped)
            for rank, match in zip(self._ranks, matches, strict=True)
        )

    def _save(self, fields: dict[str, Any], tokens: Sequence[int]) -> None:
        owner = owner_from_json(fields["owner"])
        self._saver.submit(partial(self._save_now, fields["job"], owner, tokens, fields["slots"]))

    def _save_now(self, job: int, owner: Owner, tokens: Sequence[int], slots: Sequence[int]) -> None:
        kept = False
        try:
            start = len(tokens) - len(slots) * self._store.chunk_tokens
            saved = [
                self._store.save_chunks(self._identity(rank, owner), tokens, rank.rooms(slots), start, owner.multimodal)
                for rank in self._ranks
            ]
            kept = not any(of_rank.declined for of_rank in saved)
        except Exception:  # whatever it is, the next one is tried
            self._store.metrics.count("saves_failed")
            _log.exception("saving %d chunks failed", len(slots))
        self._reply("saved", job=job, kept=kept, counts=self._store.metrics.snapshot())

    def _computed(self, fields: dict[str, Any], _: Sequence[int]) -> None:
        for rank in self._ranks:
            self._store.cost.computed(rank.spec.fingerprint(), **fields)

    def _prompt_computed(self, fields: dict[str, Any], _: Sequence[int]) -> None:
        """By every rank, as what is loaded is loaded by every rank."""
        self._store.metrics.count("tokens_computed", fields["num_tokens"] * len(self._ranks))


def _open(fields: dict[str, Any]) -> tuple[KVStore, list[_Rank]]:
    settings = load_settings(overrides=fields["overrides"])
    specs = [KVSpec.from_json(rank["spec"]) for rank in fields["ranks"]]
    stagings = [
        Staging.open(Shared(**rank["shared"]), spec, settings.store.chunk_tokens)
        for rank, spec in zip(fields["ranks"], specs, strict=True)
    ]
    store = build_store(settings, specs[0], writes=fields["saves"])
    return store, [_Rank(*pair) for pair in zip(specs, stagings, strict=True)]


def _warm_up(store: KVStore, rank: _Rank) -> None:
    """Loads what encoding and decoding have compiled: a second or more, which no request should wait for."""
    chunk = rank.staging.slots[0]
    for part in (*chunk.keys, *chunk.values):
        part.normal_()
    frame = Frame(encode_chunk(store.codec, chunk, "", 0))
    decode_chunk(frame, chunk)


def main() -> None:
    logging.basicConfig(format="kvstore: %(levelname)s %(message)s", level=logging.INFO)
    connection = Connection(int(sys.argv[1]))
    try:
        _, fields, _ = receive(connection)
    except EOFError:
        return
    try:
        store, ranks = _open(fields)
    except Exception as error:  # told to the engine, which goes on without us
        _log.exception("the store cannot be opened")
        send(connection, "failed", reason=f"{type(error).__name__}: {error}")
        return
    with store:
        _warm_up(store, ranks[0])
        send(connection, "ready", codec=store.codec.identity())
        StoreProcess(connection, store, ranks).serve()


if __name__ == "__main__":
    main()

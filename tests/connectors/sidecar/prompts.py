"""Prompts of two tenants, saved: what the tests of looking after a store are about."""

import json
from contextlib import contextmanager

from codec import codec_from
from connectors.sidecar.callers import Tokens
from kvstore import DiskTier, Identity, KVStore, Tiers, chunk_keys
from tests.connectors.cli.conftest import CHUNK_TOKENS, SPECS
from tests.connectors.sidecar.asking import Asking
from tests.connectors.sidecar.serving import serving
from tests.kv import kv_of_numbers

PROMPTS = {"a": range(64), "b": [*range(40), *range(100, 124)], "other": range(32)}
"""Of acme, alike in two chunks of four, and one of globex: eight chunks in all."""
TENANTS = {"a": "acme", "b": "acme", "other": "globex"}
ADMIN, ACME, GLOBEX = "the admin's token", "the token of acme", "the token of globex"
TOKENS = Tokens(ADMIN, {"acme": ACME, "globex": GLOBEX})
CAPACITY_BYTES = 1 << 20


def fill(path):
    """Saves PROMPTS; the first two chunks of "a" are loaded once."""
    with KVStore([DiskTier(path, CAPACITY_BYTES)], codec_from("lossless"), CHUNK_TOKENS) as store:
        for name, tokens in PROMPTS.items():
            identity = store.identity(SPECS["lossless"], TENANTS[name])
            store.save(identity, tokens, kv_of_numbers(SPECS["lossless"], len(tokens)))
        store.load(store.match(store.identity(SPECS["lossless"], "acme"), range(2 * CHUNK_TOKENS)))


@contextmanager
def serving_disk(path, tokens=TOKENS, faster=(), **options):
    """Serves the directory, behind `faster` tiers."""
    with Tiers([*faster, DiskTier(path, CAPACITY_BYTES)]) as tiers, serving(tiers, tokens=tokens, **options) as served:
        yield served


def ask(served, path, method="GET", body=None, token=None, **query):
    """One request; a body that is not bytes is sent as JSON."""
    if body is None or isinstance(body, bytes):
        return Asking(served, token)(method, path, body, **query)
    return Asking(served, token)(method, path, json.dumps(body), {"Content-Type": "application/json"}, **query)


def lines_of(answer):
    """Of JSON, one by one."""
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def keys_of(name):
    """Of a prompt in PROMPTS."""
    identity = Identity(SPECS["lossless"], codec_from("lossless").identity(), CHUNK_TOKENS, TENANTS[name])
    return chunk_keys(identity, PROMPTS[name])


def damage(path, name):
    """Flips a bit in the last chunk of a prompt, and returns its key."""
    key = keys_of(name)[-1]
    with DiskTier(path, CAPACITY_BYTES) as disk:
        entry, flipped = disk.entry(key), bytearray(disk.get(key))
        flipped[-1] ^= 1
        disk.put([(key, flipped)], [entry.parent], entry.terms)
    return key

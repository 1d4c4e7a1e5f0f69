"""Requests over connections that a test holds, and frames that a sidecar takes."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from random import Random
from urllib.parse import urlsplit

import xxhash

from codec import Lossless, encode_chunk
from kvstore import ChunkKey
from tests.kv import SPEC, kv_of_numbers

CHUNK_TOKENS = 16


@dataclass(frozen=True)
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(url, method, path, body=None, token=None, headers=None):
    """One request over a connection of its own; what is not bytes is sent as JSON."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        return ask_over(connection, method, path, body, token, headers)
    finally:
        connection.close()


def ask_over(connection, method, path, body=None, token=None, headers=None):
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None and not isinstance(body, bytes):
        headers["Content-Type"], body = "application/json", json.dumps(body).encode()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def put_over(connection, key, frame, query=""):
    checksum = {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(frame)}
    return ask_over(connection, "PUT", f"/v1/frames/{key}{query}", frame, headers=checksum)


def put(url, key, frame, query=""):
    checksum = {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(frame)}
    return ask(url, "PUT", f"/v1/frames/{key}{query}", frame, headers=checksum)


def whole_frames(number, seed=0):
    """Frames of a real codec by their keys."""
    random, kv = Random(seed), kv_of_numbers(SPEC, CHUNK_TOKENS, seed)
    keys = [ChunkKey(random.randbytes(32)) for _ in range(number)]
    return {key: bytes(encode_chunk(Lossless(), kv, str(key), 0)) for key in keys}

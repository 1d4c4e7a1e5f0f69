import asyncio
import json
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from connectors.answering import open_answering
from connectors.embedding_endpoint import EndpointEmbedder
from connectors.setting_tables import SemanticSettings
from kvstore import EmbedderUnavailable, InvalidRequest
from semantic_cache.lexical_embedder import LexicalEmbedder
from semantic_cache.query import Query
from tests.connectors.sidecar.lying import CLOSE, HANG, answer, lying
from tests.semantic_cache.contracts_embedder import EmbedderContract

KEY, DIMENSION = "sk-of-nobody", 48


class Service:
    """An OpenAI-style endpoint, as real ones behave: it checks its key, the model, and that no input is empty."""

    def __init__(self):
        self.app = FastAPI()
        self.app.post("/v1/embeddings")(self.embeddings)
        self.lexical = LexicalEmbedder(DIMENSION)
        self.asked = []

    async def embeddings(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return self.problem(401, "Incorrect API key provided.")
        if body["model"] != "lexical":
            return self.problem(404, f"The model `{body['model']}` does not exist.")
        if not all(body["input"]) or len(body["input"]) > 32:
            return self.problem(400, "'input' is empty or too long.")
        vectors = self.lexical.embed(body["input"]) * 3.0  # not every service gives length 1
        listed = [
            {"object": "embedding", "index": index, "embedding": vector.tolist()}
            for index, vector in enumerate(vectors)
        ]
        return JSONResponse({"object": "list", "model": "lexical", "data": listed[::-1], "usage": {"total_tokens": 1}})

    def problem(self, status, message):
        return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)


@contextmanager
def served(app):
    """Its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def service():
    return Service()


@pytest.fixture(scope="module")
def url(service):
    with served(service.app) as url:
        yield url


@pytest.fixture(scope="module")
def embedder(url):
    with EndpointEmbedder(url, "lexical", DIMENSION, KEY, timeout_s=20) as embedder:
        yield embedder


class TestEndpointEmbedder(EmbedderContract):
    pass


def test_many_texts_go_in_several_requests_and_keep_their_order(embedder):
    texts = [f"question {number}" for number in range(70)]
    np.testing.assert_allclose(embedder.embed(texts), LexicalEmbedder(DIMENSION).embed(texts), atol=1e-6)


def test_a_long_text_is_cut(url, service):
    with EndpointEmbedder(url, "lexical", DIMENSION, KEY, 20, most_characters=7) as embedder:
        embedder.embed(["0123456789"])
    assert service.asked[-1]["input"] == ["0123456"]


@pytest.mark.parametrize(
    ("model", "key", "reason"),
    [
        ("lexical", "", "Incorrect API key"),
        ("lexical", "sk-wrong", "Incorrect API key"),
        ("gone", KEY, "does not exist"),
    ],
)
def test_what_the_service_says_is_wrong_is_passed_on_without_the_key(url, model, key, reason):
    with (
        EndpointEmbedder(url, model, DIMENSION, key) as embedder,
        pytest.raises(EmbedderUnavailable, match=reason) as raised,
    ):
        embedder.embed(["Rice"])
    assert not key or key not in str(raised.value)


def test_another_dimension_is_refused(url):
    with (
        EndpointEmbedder(url, "lexical", DIMENSION + 1, KEY) as embedder,
        pytest.raises(EmbedderUnavailable, match="dimension 48, not 49"),
    ):
        embedder.embed(["Rice"])


def data(*vectors, indices=None):
    indices = range(len(vectors)) if indices is None else indices
    return {"data": [{"index": at, "embedding": vector} for at, vector in zip(indices, vectors, strict=True)]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"not JSON",
        b'{"data": null}',
        data(),
        data([1.0, 0.0]),
        data([1.0, 0.0], [1.0, 0.0], [1.0, 0.0]),
        data([1.0, 0.0], [1.0, 0.0], indices=[0, 0]),
        data([1.0, 0.0], [1.0, 0.0], indices=[1, 2]),
        data([1.0, 0.0], [1.0]),
        data([1.0, 0.0], [0.0, 0.0]),
        b'{"data": [{"index": 0, "embedding": [1, 0]}, {"index": 1, "embedding": [NaN, 0]}]}',
        b'{"data": [{"index": 0, "embedding": [1, 0]}, {"index": 1, "embedding": [1e999, 0]}]}',
        b'{"data": [{"index": 0, "embedding": [1, 0]}, {"index": 1, "embedding": ["one", 0]}]}',
    ],
)
def test_what_is_no_answer_to_two_texts_is_refused(body):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with (
        lying(answer(text, kind="application/json")) as url,
        EndpointEmbedder(url, "m", 2) as embedder,
        pytest.raises(EmbedderUnavailable),
    ):
        embedder.embed(["one", "two"])


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (b"", CLOSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", CLOSE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", HANG),
        (b"", HANG),
        (answer(status="302 Found", Location="http://127.0.0.1:9/"), CLOSE),
        (answer(b"busy", status="503 Service Unavailable"), CLOSE),
    ],
)
def test_one_that_hangs_or_dies_or_sends_elsewhere_is_unavailable_in_time(reply, then):
    with (
        lying(reply, then) as url,
        EndpointEmbedder(url, "m", 2, KEY, timeout_s=0.3) as embedder,
        pytest.raises(EmbedderUnavailable, match=url),
    ):
        embedder.embed(["one"])


def test_so_is_one_that_is_not_there():
    with (
        EndpointEmbedder("http://127.0.0.1:1/v1", "m", 2) as embedder,
        pytest.raises(EmbedderUnavailable, match="cannot be asked"),
    ):
        embedder.embed(["one"])


def test_it_is_asked_from_within_an_event_loop_through_a_thread(embedder):
    async def ask():
        return await asyncio.gather(*(asyncio.to_thread(embedder.embed, [f"text {at}"]) for at in range(8)))

    expected = [LexicalEmbedder(DIMENSION).embed([f"text {at}"]) for at in range(8)]
    np.testing.assert_allclose(asyncio.run(ask()), expected, atol=1e-6)


def test_when_it_is_closed_it_is_unavailable(url):
    embedder = EndpointEmbedder(url, "lexical", DIMENSION, KEY)
    embedder.close()
    embedder.close()
    with pytest.raises(EmbedderUnavailable, match="closed"):
        embedder.embed(["one"])


def test_url_model_dimension_and_cut_are_in_the_fingerprint_and_the_key_is_not():
    prints = {
        EndpointEmbedder(*which).fingerprint
        for which in [
            ("http://one/v1", "m", 2),
            ("http://two/v1", "m", 2),
            ("http://one/v1", "n", 2),
            ("http://one/v1", "m", 3),
            ("http://one/v1", "m", 2, "", 5.0, 9),
        ]
    }
    assert len(prints) == 5
    assert KEY not in EndpointEmbedder("http://one/v1", "m", 2, KEY).fingerprint


@pytest.mark.parametrize(
    "url", ["", "host/v1", "ftp://host/v1", "http://user:secret@host/v1", "http://host/v1?key=secret"]
)
def test_a_url_of_another_kind_is_refused_and_keeps_its_secrets(url):
    with pytest.raises(InvalidRequest) as raised:
        EndpointEmbedder(url, "m", 2)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("which", [{"dimension": 0}, {"timeout_s": 0}, {"most_characters": 0}])
def test_nothing_is_as_long_as_nothing(which):
    with pytest.raises(InvalidRequest, match="above 0"):
        EndpointEmbedder(**{"url": "http://host/v1", "model": "m", "dimension": 2} | which)


def test_it_ends_with_the_cache_that_was_opened_with_it(url, tmp_path):
    semantic = SemanticSettings(
        tmp_path, embedder=url, embedder_model="lexical", embedder_dimension=DIMENSION, embedder_key=KEY
    )
    before = set(threading.enumerate())
    with open_answering(semantic) as answering:
        assert answering.cache.add(Query("What is rice?", category="general"), b"Grain", "w", 1.0)
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before

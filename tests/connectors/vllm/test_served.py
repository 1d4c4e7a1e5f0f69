"""`vllm serve` with the connector and an OpenAI client: hits, metrics, aborted requests, and the store's death."""

import json
import os
import signal
import time

import pytest

from tests.connectors.vllm.real_engine import connector, prompts_of, require_vllm, whole_blocks

pytestmark = pytest.mark.real_model


@pytest.fixture
def server(tmp_path):
    require_vllm()
    from tests.connectors.vllm.real_server import Server

    with (tmp_path / "log").open("w") as log:
        events = json.dumps(
            {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"ipc://{tmp_path}/events"}
        )
        server = Server(connector(tmp_path / "store"), log, **{"kv-events-config": events})
        try:
            server.wait()
            yield server
        finally:
            server.stop()
            print((tmp_path / "log").read_text()[-5000:])


def stored_events(subscriber, timeout_s=30):
    """The first message that tells of chunks in the store."""
    while subscriber.poll(1000 * timeout_s):
        *_, payload = subscriber.recv_multipart()
        if b"STORAGE" in payload:
            return payload
    return b""


def test_a_served_engine_hits_and_outlives_the_store(server, tmp_path):
    import zmq  # comes with vLLM

    first, second = prompts_of((300, 400))
    subscriber = zmq.Context.instance().socket(zmq.SUB)
    subscriber.connect(f"ipc://{tmp_path}/events")
    subscriber.subscribe(b"")
    computed, nothing = server.answer(first)
    assert nothing == 0
    until_s = time.monotonic() + 30
    while server.counter("kvstore_chunks_saved") < 2 and time.monotonic() < until_s:
        server.answer(second[:20])
        time.sleep(0.2)
    assert stored_events(subscriber)
    own = server.answer(first)
    server.forget()
    before = server.counter("external_prefix_cache_hits")
    loaded = server.answer(first)
    server.answer(second[:20])
    assert loaded == own
    assert loaded[1] == whole_blocks([first])[0]
    assert server.counter("external_prefix_cache_hits") - before == loaded[1]
    assert server.counter("kvstore_tokens_promised") == loaded[1]

    stream = server.client.completions.create(model="demo", prompt=second, max_tokens=500, stream=True)
    next(iter(stream))
    stream.close()  # the request is aborted
    server.forget()
    assert server.answer(first) == loaded

    for process in server.store_processes():
        os.kill(process, signal.SIGKILL)
    server.forget()
    assert server.answer(first) == (computed, 0)
    assert server.answer(second[:50])[0]

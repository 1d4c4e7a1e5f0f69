"""An OpenAI client asks real vLLM through the sidecar: what was asked before is answered without the engine."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors.answering import open_answering
from connectors.setting_tables import SemanticSettings
from tests.connectors.sidecar.asking import wait_until
from tests.connectors.vllm.real_engine import require_vllm
from tests.connectors.vllm.real_server import Server

pytestmark = pytest.mark.real_model
ASKED = "How many ounces are in a pound?"
AGAIN = "How many ounces are there in a pound?", "how many ounces in a pound?", "How many ounces does a pound have?"
OTHERS = "How many ounces are in 2 pounds?", "How many ounces are not in a pound?", "How many grams are in a pound?"
START_S = 60


@pytest.fixture
def engine(tmp_path):
    require_vllm()
    with (tmp_path / "engine.log").open("w") as log:
        server = Server(None, log)
        try:
            server.wait()
            yield server
        finally:
            server.stop()
            print((tmp_path / "engine.log").read_text()[-3000:])


@pytest.fixture
def proxy(engine, tmp_path):
    """The base URL of `kvstore serve` before the engine."""
    command = [str(Path(sys.executable).with_name("kvstore")), "serve", "--port", "0"]
    command += ["--store", str(tmp_path / "store"), "--socket", str(tmp_path / "socket")]
    prove(tmp_path / "answers", "general", 0.6)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KVSTORE_")} | {
        "KVSTORE_PROXY_UPSTREAM": f"http://127.0.0.1:{engine.port}/v1",
        "KVSTORE_SEMANTIC_PATH": str(tmp_path / "answers"),
        "KVSTORE_DISK_CAPACITY_BYTES": "64MiB",
    }
    with (tmp_path / "proxy.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield _announced(tmp_path / "proxy.log", process)
    finally:
        process.terminate()
        process.wait(30)
        print((tmp_path / "proxy.log").read_text()[-3000:])


def prove(directory, category, score, number=2000):
    """As if so many neighbours with that score had been explored, and all were right."""
    with open_answering(SemanticSettings(directory)) as answering:
        for _ in range(number):
            ruling, _ = answering.cache.certifiers.choose(category, score)
            answering.cache.certifiers.observe(category, score, True, ruling)


def _announced(log, process):
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        if found := re.search(r"at (http://\S+)", log.read_text()):
            return f"{found[1]}/v1"
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


def ask(client, text, **more):
    """What the header says of the cache, the answer, and whether the engine is asked although it was a hit."""
    answer = client.chat.completions.with_raw_response.create(
        model="demo", messages=[{"role": "user", "content": text}], max_tokens=200, stop=".", temperature=0, **more
    )
    explanation = json.loads(answer.headers["x-kvstore-explanation"])
    return answer.headers["x-kvstore-cache"], answer.parse().choices[0].message.content, explanation["check"]


def test_the_same_question_in_other_words_is_answered_without_the_engine(engine, proxy):
    keeps = {"x-kvstore-category": "general", "x-kvstore-explain": "true"}
    client = engine.client.with_options(base_url=proxy, default_headers=keeps)
    first = ask(client, ASKED)
    assert first[0] == "miss"
    assert ask(client, ASKED) == ("hit", first[1], False)
    again = [ask(client, text) for text in AGAIN]
    assert {answer[:2] for answer in again} == {("hit", first[1])}
    num_checked = sum(checked for *_, checked in again)  # one in seven is computed beside
    for other in OTHERS:
        assert ask(client, other)[0] == "miss"
    wait_until(lambda: engine.counter("request_success") >= 1 + num_checked + len(OTHERS))
    assert engine.counter("request_success") == 1 + num_checked + len(OTHERS)
    streamed = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": ASKED}],
        max_tokens=200,
        stop=".",
        temperature=0,
        stream=True,
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == first[1]
    with_system = [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": ASKED}]
    other = client.chat.completions.with_raw_response.create(
        model="demo", messages=with_system, max_tokens=200, stop="."
    )
    assert other.headers["x-kvstore-cache"] == "miss"

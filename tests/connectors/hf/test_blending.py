"""`generate` with segments: reused wherever they stand, computed when they are not held, never saved as exact."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GlmConfig, SmolLM3Config

from blend import content_defined
from blend.content_defined import MOST
from blend.segment import MOST_TOKENS
from codec import CorruptFrame, Lossless
from connectors.hf import CachedModel, blending
from connectors.hf.blending import Blending
from connectors.hf.fusing import compute_runs, fuse
from kvstore import CostModel, KVStore, MemoryTier, chunk_reader
from tests.connectors.hf.steps import GREEDY
from tests.connectors.hf.tiny import CONFIGS, SIZES, WINDOW, prompt, tiny_model

ALL, SOME, NONE = 1.0, 0.3, 0.0
PASSAGES = [prompt(length, seed)[0].tolist() for seed, length in ((11, 30), (12, 41), (13, 1))]


def written(*order, before=5, after=6):
    """A prompt of some text, these passages, and a question; and where the passages are."""
    ids, runs = prompt(before, seed=21)[0].tolist(), []
    for number in order:
        runs.append((len(ids), len(ids) + len(PASSAGES[number])))
        ids += PASSAGES[number]
    return torch.tensor([ids + prompt(after, seed=22)[0].tolist()]), runs


@pytest.fixture
def blended(store):
    def wrap(model, share=SOME, learns=False, **options):
        wrapped.append(CachedModel(model, store, blending=Blending(share, learns=learns, **options)))
        return wrapped[-1]

    wrapped = []
    yield wrap
    for model in wrapped:
        model.close()


def warm(cached, *numbers):
    list(cached.blender.warm([PASSAGES[number] for number in numbers]))


@pytest.mark.parametrize("kind", sorted(CONFIGS))
@pytest.mark.parametrize("behind", [(), (1,)], ids=["alone", "behind a token"])
def test_recomputing_everything_answers_as_without_the_store(kind, behind, blended, store):
    model = tiny_model(kind)
    cached = blended(model, ALL, behind=behind)
    warm(cached, 0, 1, 2)
    ids, runs = written(2, 1, 0)
    answer = cached.generate(ids, segments=runs, **GREEDY)
    assert torch.equal(answer, model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["tokens_blended"] == 30 + 41 + 1


def test_a_segment_at_the_beginning_of_a_prompt_is_reused_exactly(blended, store):
    model = tiny_model("llama")
    cached = blended(model, NONE)
    warm(cached, 1)
    ids, runs = written(1, before=0)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["tokens_blended"] == 41


def test_what_is_not_held_is_computed(blended, store):
    model = tiny_model("qwen3")
    cached = blended(model, ALL)
    warm(cached, 0)
    ids, runs = written(1, 0)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["tokens_blended"] == 30
    ids, runs = written(1, 2)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["requests_blended"] == 1


def test_what_was_blended_is_never_saved(blended, store):
    cached = blended(tiny_model("llama"))
    warm(cached, 0, 1)
    held = len(list(store.tier.entries()))
    ids, runs = written(0, 1, 0)
    cached.generate(ids, segments=runs, **GREEDY)
    cached.flush()
    assert len(list(store.tier.entries())) == held


def test_an_exact_prefix_comes_before_segments(blended, store):
    model = tiny_model("llama")
    cached = blended(model, ALL)
    warm(cached, 1)
    ids, runs = written(0, 1)
    cached.generate(ids[:, :32], max_new_tokens=1)
    cached.flush()
    answer = cached.generate(ids, segments=runs, **GREEDY)
    assert torch.equal(answer, model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["tokens_loaded"] == 32 + 41


def test_the_whole_prompt_is_a_segment_and_the_same_twice(blended):
    model = tiny_model("llama")
    cached = blended(model, ALL)
    warm(cached, 0)
    for order in ((0,), (0, 0)):
        ids, runs = written(*order, before=0, after=0)
        assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))


def test_a_segment_longer_than_the_window(blended, store):
    model = tiny_model("mistral-window")
    cached = blended(model, ALL)
    assert len(PASSAGES[1]) > WINDOW
    warm(cached, 1)
    ids, runs = written(1)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))


def test_batches_and_segments_that_make_no_sense_go_without(blended, store):
    model = tiny_model("llama")
    cached = blended(model, ALL)
    warm(cached, 0)
    ids, _ = written(0)
    twice = torch.cat([ids, ids])
    assert torch.equal(cached.generate(twice, segments=[(5, 35)], **GREEDY), model.generate(twice, **GREEDY))
    for senseless in ([(5, 900)], [(9, 3)], [(0, 9), (5, 12)]):
        with pytest.raises(ValueError, match="segment"):
            cached.generate(ids, segments=senseless, **GREEDY)
    assert store.metrics.snapshot()["requests_blended"] == 0


def test_packed_segments_are_as_if_computed_alone(blended, store):
    cached = blended(tiny_model("gemma3-hybrid"))
    warm(cached, 0, 1, 2)
    together = {entry.key: bytes(store.tier.get(entry.key)) for entry in store.tier.entries()}
    assert len(together) == 3
    assert list(cached.blender.warm(PASSAGES)) == [0, 1, 2]
    assert store.metrics.snapshot()["chunks_saved"] == 3


def test_what_is_held_is_found_anywhere_without_being_marked(blended, store):
    model = tiny_model("llama", max_position_embeddings=4096)
    cached = blended(model, ALL)
    document = prompt(1500, seed=31)
    ids = document[0].tolist()
    parts = content_defined(ids)
    list(cached.blender.warm([ids[start:end] for start, end in parts]))
    whole = torch.cat([prompt(77, seed=32), document, prompt(5, seed=33)], dim=1)
    assert torch.equal(cached.generate(whole, segments="anywhere", **GREEDY), model.generate(whole, **GREEDY))
    assert store.metrics.snapshot()["tokens_blended"] >= 1500 - 3 * MOST


def checked(blended, model, bound, share=0.0):
    cached = blended(model, share, bound=bound, checked=1.0)
    warm(cached, 0, 1)
    ids, runs = written(1, 0)
    for _ in range(6):
        cached.generate(ids, segments=runs, **GREEDY)
        cached.blender.beside.flush()
    return cached


def test_answers_that_stay_close_go_on_being_blended(blended, store):
    assert checked(blended, tiny_model("llama"), 1e-5, share=1.0).blender.checks.within
    counts = store.metrics.snapshot()
    assert (counts["blends_checked"], counts["requests_blended"], counts["blending_stopped"]) == (6, 6, 0)


def test_blending_ends_when_answers_are_beyond_the_bound(blended, store):
    model = tiny_model("llama")
    cached = checked(blended, model, 0.0)
    assert not cached.blender.checks.within
    counts = store.metrics.snapshot()
    assert (counts["blends_checked"], counts["requests_blended"], counts["blending_stopped"]) == (5, 5, 1)
    ids, runs = written(1, 0)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))


def test_a_model_whose_keys_turn_otherwise_is_not_blended(blended, caplog):
    torch.manual_seed(0)
    cached = blended(AutoModelForCausalLM.from_config(GlmConfig(**SIZES)).eval())
    assert cached.blender is None
    assert "layer 0" in caplog.text


def test_a_model_whose_layers_do_not_all_turn_their_keys_is_not_blended(blended, caplog):
    torch.manual_seed(0)
    sizes = {**SIZES, "num_hidden_layers": 4}
    cached = blended(AutoModelForCausalLM.from_config(SmolLM3Config(**sizes, no_rope_layers=[1, 1, 1, 0])).eval())
    assert cached.blender is None
    assert "layer 3" in caplog.text


def test_eager_attention_is_not_blended(blended, caplog):
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    assert blended(model).blender is None
    assert "'sdpa'" in caplog.text


def test_long_segments_are_computed_in_several_passes(blended, store, monkeypatch):
    model, passes = tiny_model("llama", max_position_embeddings=8192), []
    cached = blended(model)

    def counting(model, spec, runs):
        passes.append(sum(map(len, runs)))
        return compute_runs(model, spec, runs)

    monkeypatch.setattr(blending, "compute_runs", counting)
    list(cached.blender.warm([prompt(5000, seed=5)[0].tolist()]))
    assert len(passes) == 3
    assert max(passes) <= MOST_TOKENS


def test_little_that_is_held_is_computed(blended, store):
    model = tiny_model("llama")
    cached = blended(model)
    warm(cached, 2)
    ids, runs = written(2, before=20)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["requests_blended"] == 0


def test_saving_rests_while_a_prompt_is_fused(blended, monkeypatch):
    cached, seen = blended(tiny_model("llama")), []
    warm(cached, 0, 1)

    def looking(*arguments):
        seen.append(cached._queue._busy)
        return fuse(*arguments)

    monkeypatch.setattr(blending, "fuse", looking)
    ids, runs = written(1, 0)
    cached.generate(ids, segments=runs, **GREEDY)
    assert (seen, cached._queue._busy) == ([1], 0)


def test_what_goes_wrong_behind_an_answer_does_not_cost_it(blended, monkeypatch, caplog):
    model = tiny_model("llama")
    cached = blended(model, ALL, learns=True)
    monkeypatch.setattr(cached.blender, "learn", lambda *_: 1 / 0)
    ids, runs = written(1, 0)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    assert "not looked after" in caplog.text


def test_a_model_that_cannot_be_hooked_is_not_blended(blended, caplog):
    model = tiny_model("llama")
    model.config._attn_implementation = "flex_attention"
    cached = blended(model)
    assert cached.blender is None
    assert "flex_attention" in caplog.text


def test_a_segment_that_was_not_held_is_learnt_for_the_next_prompt(blended, store):
    model = tiny_model("llama")
    cached = blended(model, ALL, learns=True)
    for order, reused in (((0, 1), 0), ((1, 0), 71)):
        ids, runs = written(*order)
        assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
        cached.blender.beside.flush()
        assert store.metrics.snapshot()["tokens_blended"] == reused


def test_what_is_found_anywhere_is_not_learnt(blended, store):
    cached = blended(tiny_model("llama", max_position_embeddings=4096), ALL, learns=True)
    cached.generate(prompt(900, seed=31), segments="anywhere", max_new_tokens=1)
    cached.blender.beside.flush()
    assert store.metrics.snapshot()["requests_blended"] == 0
    assert not [
        entry
        for entry in store.tier.entries()
        if entry.key
        not in cached.store.match(cached.store.identity(cached.spec), prompt(900, seed=31)[0].tolist()).keys
    ]


def test_segments_are_computed_where_that_is_sooner_than_loading_them(tmp_path):
    model = tiny_model("llama")
    with KVStore([MemoryTier(1 << 26)], Lossless(), chunk_tokens=8, cost=CostModel()) as store:
        with CachedModel(model, store, blending=Blending(ALL, learns=False)) as cached:
            warm(cached, 0, 1)
            fingerprint = cached.spec.fingerprint()
            for _ in range(9):
                store.cost.computed(fingerprint, 80, 0, 1e-6)
                store.cost.got("memory", 1000, 10.0)
            ids, runs = written(1, 0)
            assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
        assert store.metrics.snapshot()["requests_blended"] == 0


def test_a_decoder_that_fails_halfway_leaves_the_prompt_to_be_computed(blended, store, monkeypatch):
    def failing(frame, out, to):
        yield 1
        raise CorruptFrame("a code that no encoder writes")

    model = tiny_model("llama")
    cached = blended(model)
    warm(cached, 0, 1)
    monkeypatch.setattr(chunk_reader, "decode_layers", failing)
    ids, runs = written(1, 0)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    counts = store.metrics.snapshot()
    assert (counts["loads_failed"], counts["requests_blended"]) == (1, 0)
    assert counts["chunks_corrupt"] >= 1


def test_a_prompt_beyond_what_the_model_takes_goes_as_without_us(blended):
    model = tiny_model("llama", max_position_embeddings=64)
    cached = blended(model, ALL)
    warm(cached, 0)
    ids, runs = written(0, 1)
    assert ids.shape[1] > 64
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))


def test_a_damaged_segment_is_computed(blended, store):
    model = tiny_model("llama")
    cached = blended(model, ALL)
    warm(cached, 0, 1)
    key = max(store.tier.entries(), key=lambda entry: entry.size_bytes).key
    frame = bytearray(store.tier.get(key))
    frame[-20] ^= 1
    store.tier.delete(key)
    store.tier.put([(key, frame)])
    ids, runs = written(1, 0)
    assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    counts = store.metrics.snapshot()
    assert (counts["chunks_corrupt"], counts["tokens_blended"]) == (1, len(PASSAGES[0]))


def test_no_segments_are_a_prompt_like_any_other(blended, store):
    model = tiny_model("llama")
    cached = blended(model)
    warm(cached, 0)
    ids, _ = written(0)
    assert torch.equal(cached.generate(ids, segments=[], **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["requests_blended"] == 0


def test_in_inference_mode(blended, store):
    model = tiny_model("llama")
    cached = blended(model, ALL)
    warm(cached, 0, 1)
    ids, runs = written(1, 0)
    with torch.inference_mode():
        assert torch.equal(cached.generate(ids, segments=runs, **GREEDY), model.generate(ids, **GREEDY))
    assert store.metrics.snapshot()["requests_blended"] == 1

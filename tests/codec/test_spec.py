"""KVSpec: one fingerprint per model, the same in every release, and nothing else passes for one."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CorruptFrame, KVSpec, LayerGroup
from tests.kv import SPEC, TWO_GROUPS, specs

GROUP = LayerGroup((0,), 2, 8, 8)
ONE = KVSpec("m", "r", "bfloat16", (GROUP,))


def test_the_fingerprint_never_changes_between_releases():
    assert SPEC.fingerprint() == "180cc2a2ff1d2f45f99ff5d665c69378fa2401a5cf72716ef6610aac9a0c02de"


def test_the_canonical_text_never_changes_between_releases():
    assert ONE.to_json() == (
        '{"dtype":"bfloat16","groups":[{"key_dim":8,"kv_heads":2,"layers":[0],"rotary":{},"value_dim":8,'
        '"window":null}],"model":"m","revision":"r","tp_rank":0,"tp_size":1}'
    )


@given(spec=specs())
def test_json_brings_back_an_equal_spec(spec):
    back = KVSpec.from_json(spec.to_json())
    assert back == spec
    assert hash(back) == hash(spec)
    assert back.fingerprint() == spec.fingerprint()


@given(specs(), specs())
def test_fingerprints_are_equal_exactly_when_specs_are(one, other):
    assert (one.fingerprint() == other.fingerprint()) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"revision": "s"},
        {"dtype": "float16"},
        {"groups": TWO_GROUPS},
        {"tp_size": 2},
        {"tp_size": 2, "tp_rank": 1},
        {"groups": (replace(GROUP, kv_heads=3),)},
        {"groups": (replace(GROUP, key_dim=9),)},
        {"groups": (replace(GROUP, value_dim=9),)},
        {"groups": (replace(GROUP, window=4),)},
        {"groups": (replace(GROUP, rotary={"rope_theta": 1.0}),)},
        {"groups": (replace(GROUP, layers=(0, 1)),)},
        {"groups": (GROUP, replace(GROUP, layers=(1,)))},
    ],
)
def test_every_field_changes_the_fingerprint(change):
    changed = replace(ONE, **change)
    others = {ONE.fingerprint(), replace(ONE, tp_size=2).fingerprint()} if "tp_rank" in change else {ONE.fingerprint()}
    assert changed.fingerprint() not in others


def test_rotary_parameters_are_equal_in_any_order():
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert replace(GROUP, rotary=one) == replace(GROUP, rotary=other)
    specs = [replace(ONE, groups=(replace(GROUP, rotary=rotary),)) for rotary in (one, other)]
    assert specs[0].fingerprint() == specs[1].fingerprint()


def test_bytes_per_token_counts_keys_and_values_of_every_layer():
    assert SPEC.bytes_per_token == 2 * (2 * 2 * (8 + 4) + 1 * (6 + 6))
    assert SPEC.num_layers == 3
    assert [group.window for group in SPEC.group_of] == [None, 16, None]


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"groups": ()},
        {"groups": (replace(GROUP, layers=(1,)),)},
        {"groups": (GROUP, GROUP)},
        {"tp_rank": 1},
        {"tp_rank": -1},
        {"tp_size": 0},
    ],
)
def test_a_spec_that_makes_no_sense_is_a_value_error(change):
    with pytest.raises(ValueError):  # noqa: PT011
        replace(ONE, **change)


HOSTILE = {
    "nothing": "",
    "no object": "[]",
    "a number": "7",
    "deep": "[" * 100_000,
    "deep and closed": '{"groups":' * 5000 + "1" + "}" * 5000,
    "infinity": ONE.to_json().replace('"kv_heads":2', '"kv_heads":1e999'),
    "endless digits": ONE.to_json().replace('"kv_heads":2', '"kv_heads":' + "9" * 10_000),
    "huge heads": ONE.to_json().replace('"kv_heads":2', '"kv_heads":1000000000000'),
    "half a head": ONE.to_json().replace('"kv_heads":2', '"kv_heads":1.5'),
    "true heads": ONE.to_json().replace('"kv_heads":2', '"kv_heads":true'),
    "no heads": ONE.to_json().replace('"kv_heads":2', '"kv_heads":0'),
    "negative dim": ONE.to_json().replace('"key_dim":8', '"key_dim":-8'),
    "zero window": ONE.to_json().replace('"window":null', '"window":0'),
    "layer as float": ONE.to_json().replace('"layers":[0]', '"layers":[0.0]'),
    "layers as text": ONE.to_json().replace('"layers":[0]', '"layers":"0"'),
    "layer twice": ONE.to_json().replace('"layers":[0]', '"layers":[0,0]'),
    "rotary as number": ONE.to_json().replace('"rotary":{}', '"rotary":5'),
    "model as number": ONE.to_json().replace('"model":"m"', '"model":5'),
    "revision missing": ONE.to_json().replace('"revision":"r",', ""),
    "field of the future": ONE.to_json().replace('"revision"', '"quantum":1,"revision"'),
    "field twice": ONE.to_json().replace('"revision"', '"revision":"q","revision"'),
    "spaces": ONE.to_json().replace(",", ", "),
    "float rank": ONE.to_json().replace('"tp_rank":0', '"tp_rank":0.0'),
    "groups as object": ONE.to_json().replace('"groups":[', '"groups":{"a":').replace('],"model', '},"model'),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_that_is_no_spec_is_a_corrupt_frame(text):
    with pytest.raises(CorruptFrame):
        KVSpec.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(field=st.sampled_from([*json.loads(ONE.to_json()), *json.loads(ONE.to_json())["groups"][0]]), value=json_values)
def test_any_value_in_any_field_is_that_very_spec_or_a_corrupt_frame(field, value):
    fields = json.loads(ONE.to_json())
    (fields if field in fields else fields["groups"][0])[field] = value
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    with suppress(CorruptFrame):
        assert KVSpec.from_json(text).to_json() == text

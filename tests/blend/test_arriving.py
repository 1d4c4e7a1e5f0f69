"""Segments that arrive layer by layer: waited for, ended early, and failing where somebody waits."""

import threading

import pytest

from blend.arriving import Arriving


def in_steps(*steps, gate=None, seen=None):
    for step in steps:
        if gate is not None:
            gate.wait(5)
        if seen is not None:
            seen.append(step)
        yield step


def test_a_layer_is_there_when_every_segment_has_it():
    gate, seen = threading.Event(), []
    with Arriving([in_steps(1, 2, 3), in_steps(3, gate=gate, seen=seen), in_steps(2, 3)], 3) as arriving:
        assert seen == []
        gate.set()
        for layer in range(3):
            arriving.wait(layer)
        assert seen == [3]


def test_nothing_to_wait_for_is_there_at_once():
    with Arriving([], 4) as arriving:
        arriving.wait(3)


def test_who_waits_is_told_what_failed():
    def failing():
        yield 1
        raise ValueError("layer 1 is no good")

    with Arriving([failing(), in_steps(1, 2)], 2) as arriving, pytest.raises(ValueError, match="layer 1"):
        arriving.wait(1)


def test_who_leaves_early_does_not_wait_for_the_rest():
    seen, begun, gate = [], threading.Event(), threading.Event()

    def endless():
        for number in range(1, 1_000_000):
            begun.set()
            gate.wait(5)
            seen.append(number)
            yield number

    with Arriving([endless()], 1_000_000):
        begun.wait(5)
        gate.set()
    assert len(seen) < 1_000_000 - 1


def test_all_first_layers_come_before_any_second():
    order = []

    def noting(name):
        for layer in (1, 2):
            order.append((name, layer))
            yield layer

    with Arriving([noting("a"), noting("b")], 2, decoders=1) as arriving:
        arriving.wait(1)
    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]

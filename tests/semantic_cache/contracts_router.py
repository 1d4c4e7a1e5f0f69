"""What every router of in-context reuse keeps to, however it chooses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore import InvalidRequest
from semantic_cache.request import Request
from semantic_cache.router import Features, Model

REQUESTS = st.builds(Request, st.sampled_from(["code", "chat", "never heard of"]), st.integers(0, 10_000))
FEATURES = st.builds(Features, REQUESTS, st.integers(0, 3), st.floats(0, 1), st.floats(-1, 1))
LOADS = st.floats(0, 5)
LEARNED = st.lists(st.tuples(FEATURES, LOADS, st.floats(0, 1)), max_size=30)


class RouterContract:
    def router(self, seed):
        raise NotImplementedError

    def taught(self, seed, learned):
        router = self.router(seed)
        for features, load, quality in learned:
            router.learn(router.choose(features, load), quality)
        return router

    @given(st.integers(0, 1000), LEARNED, FEATURES, LOADS, LOADS)
    def test_more_load_never_makes_the_large_model_likelier(self, seed, learned, features, one, other):
        """Of two routers that believe the same."""
        idler, busier = (self.taught(seed, learned).choose(features, load).model for load in sorted([one, other]))
        assert idler is Model.LARGE or busier is Model.SMALL

    @given(st.integers(0, 1000), LEARNED, FEATURES, LOADS)
    def test_examples_are_chosen_only_where_there_are_any(self, seed, learned, features, load):
        choice = self.taught(seed, learned).choose(features, load)
        assert features.num_examples > 0 or not choice.examples

    @given(st.integers(0, 1000), LEARNED, FEATURES, LOADS)
    def test_the_same_is_chosen_with_the_same_beliefs(self, seed, learned, features, load):
        assert self.taught(seed, learned).choose(features, load) == self.taught(seed, learned).choose(features, load)

    @pytest.mark.parametrize("load", [-0.1, math.nan, -math.inf])
    def test_a_load_that_is_none_is_refused(self, load):
        with pytest.raises(InvalidRequest, match="load"):
            self.router(0).choose(Features(Request("code", 10)), load)

    @pytest.mark.parametrize("quality", [-0.1, 1.1, math.nan, math.inf])
    def test_a_quality_that_is_none_is_refused(self, quality):
        router = self.router(0)
        with pytest.raises(InvalidRequest, match="quality"):
            router.learn(router.choose(Features(Request("code", 10)), 0.0), quality)

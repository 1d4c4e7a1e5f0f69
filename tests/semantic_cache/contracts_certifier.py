"""What every certifier promises; inherit it and say how to make yours."""

import math
import random

from semantic_cache.certifier import Certifier, Choice


class CertifierContract:
    def make_certifier(self, seed) -> Certifier:
        raise NotImplementedError

    def test_nothing_is_served_before_anything_is_known(self):
        certifier = self.make_certifier(0)
        assert certifier.certified.threshold == math.inf
        for score in (0.0, 0.3, 0.999, 1.0):
            assert not certifier.choose(score).serves

    def test_what_is_never_right_is_never_served(self):
        certifier, chosen = self.make_certifier(1), random.Random(1)
        for _ in range(2000):
            score = chosen.random()
            ruling = certifier.choose(score)
            assert not ruling.serves
            if ruling.choice is Choice.EXPLORE:
                certifier.observe(score, False, ruling)
        assert certifier.certified.threshold == math.inf

    def test_what_is_always_right_comes_to_be_served(self):
        certifier, chosen, served = self.make_certifier(2), random.Random(2), 0
        for _ in range(3000):
            score = chosen.uniform(0.7, 1)
            ruling = certifier.choose(score)
            served += ruling.serves
            if ruling.choice in (Choice.EXPLORE, Choice.CHECK):
                certifier.observe(score, True, ruling)
        assert served > 1000
        certified = certifier.certified
        assert certified.threshold < 0.72
        assert certified.wrong == 0
        assert certified.wrong_at_most <= 0.01

    def test_scores_out_of_range_count_as_the_ends_of_it(self):
        certifier = self.make_certifier(3)
        for score in (-1.0, 2.0):
            ruling = certifier.choose(score)
            certifier.observe(score, True, ruling)
        assert certifier.certified.observed <= 2

"""LRU against a list that does the same slowly, and NoEviction."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvstore import LRU, NoEviction
from kvstore.testing import EvictionContract, key, nobody, prompt

keys = st.sampled_from(prompt("a", 6))


class TestLRU(EvictionContract):
    def make_policy(self):
        return LRU()


class TestNoEviction(EvictionContract):
    def make_policy(self):
        return NoEviction()


class LRUAgainstAList(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.policy, self.model = LRU(), []

    @rule(each=keys)
    def insert(self, each):
        self.policy.insert(each)
        self.model = [other for other in self.model if other != each] + [each]

    @rule(each=keys)
    def touch(self, each):
        self.policy.touch(each)
        if each in self.model:
            self.model = [other for other in self.model if other != each] + [each]

    @rule(each=keys)
    def remove(self, each):
        self.policy.remove(each)
        self.model = [other for other in self.model if other != each]

    @invariant()
    def the_victim_is_what_was_used_longest_ago(self):
        assert self.policy.victim(nobody) == (self.model[0] if self.model else None)


TestLRUAgainstAList = LRUAgainstAList.TestCase


def test_no_eviction_never_names_a_victim():
    policy = NoEviction()
    policy.insert(key("a"))
    policy.touch(key("a"))
    assert policy.victim(nobody) is None

"""What every eviction policy promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kvstore.eviction import EvictionPolicy
from kvstore.key import ChunkKey
from kvstore.testing.made_up import key, prompt


def nobody(of: ChunkKey) -> bool:
    """Spares no key from eviction."""
    return False


class EvictionContract(ABC):
    """What every eviction policy promises."""

    @abstractmethod
    def make_policy(self) -> EvictionPolicy:
        """A new policy, for a tier that holds nothing."""

    def test_nothing_held_means_no_victim(self) -> None:
        assert self.make_policy().victim(nobody) is None

    def test_asking_for_the_victim_changes_nothing(self) -> None:
        policy = self.make_policy()
        for each in prompt("a", 4):
            policy.insert(each)
        assert policy.victim(nobody) == policy.victim(nobody)

    def test_unknown_keys_are_ignored(self) -> None:
        policy = self.make_policy()
        policy.touch(key("unknown"))
        policy.remove(key("unknown"))
        assert policy.victim(nobody) is None

    def test_a_victim_is_none_that_is_spared(self) -> None:
        policy, keys = self.make_policy(), prompt("a", 6)
        for each in keys:
            policy.insert(each)
        first = policy.victim(nobody)
        assert policy.victim(keys.__contains__) is None
        assert policy.victim(nobody) == first
        if first is not None:
            assert policy.victim(first.__eq__) not in (first, None)
            assert policy.victim(lambda each: each != keys[3]) == keys[3]

    def test_every_victim_is_held_and_goes_once(self) -> None:
        policy, known = self.make_policy(), set(prompt("a", 20))
        for each in sorted(known):
            policy.insert(each)
        for each in prompt("a", 5):
            policy.remove(each)
            known.remove(each)
        for each in prompt("a", 20)[::3]:
            policy.touch(each)
            policy.insert(each) if each in known else None
        while (victim := policy.victim(nobody)) is not None:
            assert victim in known
            known.remove(victim)
            policy.remove(victim, evicted=True)

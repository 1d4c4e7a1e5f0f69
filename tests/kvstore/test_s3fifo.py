"""S3FIFO against lists that do the same slowly; what spared keys cost; what comes back."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from kvstore import S3FIFO
from kvstore.testing import EvictionContract, key, nobody, prompt

names = prompt("a", 12)
keys = st.sampled_from(names)


class TestS3FIFO(EvictionContract):
    def make_policy(self):
        return S3FIFO()


class Lists:
    """S3-FIFO with 30 % and 4 ghosts, as plainly as it can be said: lists of [key, uses]."""

    def __init__(self):
        self.small, self.main, self.ghosts = [], [], []

    def insert(self, each):
        if any(other == each for other, _ in self.small + self.main):
            self.touch(each)
        elif each in self.ghosts:
            self.ghosts.remove(each)
            self.main.append([each, 0])
        else:
            self.small.append([each, 0])

    def touch(self, each):
        for item in self.small + self.main:
            if item[0] == each:
                item[1] = min(3, item[1] + 1)

    def remove(self, each, evicted):
        if evicted and any(other == each for other, _ in self.small):
            self.ghosts.append(each)
        self.small = [item for item in self.small if item[0] != each]
        self.main = [item for item in self.main if item[0] != each]
        most = 4 * (len(self.small) + len(self.main) + 1)
        self.ghosts = self.ghosts[-most:]

    def victim(self, spared):
        tried = []
        while len(tried) < 2:
            full = len(self.small) >= 0.3 * (len(self.small) + len(self.main))
            first, second = (self.small, self.main) if full else (self.main, self.small)
            queue = second if tried else first
            free = next((place for place, (each, _) in enumerate(queue) if not spared(each)), None)
            if free is None:
                tried.append(queue)
                continue
            queue[:] = queue[free:] + queue[:free]
            if not queue[0][1]:
                return queue[0][0]
            each, uses = queue.pop(0)
            self.main.append([each, 0 if queue is self.small else uses - 1])
        return None


class S3FIFOAgainstLists(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.policy, self.model = S3FIFO(), Lists()

    @rule(each=keys)
    def insert(self, each):
        self.policy.insert(each)
        self.model.insert(each)

    @rule(each=keys)
    def touch(self, each):
        self.policy.touch(each)
        self.model.touch(each)

    @rule(each=keys)
    def remove(self, each):
        self.policy.remove(each)
        self.model.remove(each, evicted=False)

    @rule(spared=st.sets(keys, max_size=4))
    def evict(self, spared):
        victim = self.policy.victim(spared.__contains__)
        assert victim == self.policy.victim(spared.__contains__) == self.model.victim(spared.__contains__)
        if victim is not None:
            self.policy.remove(victim, evicted=True)
            self.model.remove(victim, evicted=True)


TestS3FIFOAgainstLists = S3FIFOAgainstLists.TestCase


def test_what_comes_back_soon_outlives_what_is_new():
    policy = S3FIFO()
    for each in names[:10]:
        policy.insert(each)
    first = policy.victim(nobody)
    policy.remove(first, evicted=True)
    policy.insert(first)
    for number in range(30):
        policy.insert(key(f"new {number}"))
        victim = policy.victim(nobody)
        assert victim != first
        policy.remove(victim, evicted=True)


def test_many_spared_keys_are_passed_once():
    policy, spared = S3FIFO(), set(prompt("spared", 1000))
    asked = 0

    def is_spared(each):
        nonlocal asked
        asked += 1
        return each in spared

    for each in [*spared, *prompt("others", 1000)]:
        policy.insert(each)
    for _ in range(500):
        policy.remove(policy.victim(is_spared), evicted=True)
    assert asked < 2500

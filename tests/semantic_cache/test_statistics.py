"""Statistics by category."""

import math
import threading

from semantic_cache.decision import Outcome
from semantic_cache.documents import Held
from semantic_cache.quota import Quotas
from semantic_cache.statistics import Statistics


def test_each_outcome_is_counted_where_it_belongs():
    quotas = Quotas(10, 1 << 20, lambda name: 1.0)
    quotas.added(Held(1, b"", b"", "docs", "", 100.0, math.inf, 1.0, 50))
    quotas.added(Held(2, b"", b"", "docs", "", 200.0, math.inf, 1.0, 60))
    statistics = Statistics(quotas)
    for outcome in Outcome:
        statistics.count("docs", outcome)
    statistics.count("docs", Outcome.SEMANTIC, saved_s=2.5)
    statistics.count("code", Outcome.MISS)
    docs = statistics.of("docs")
    assert (docs.hits_exact, docs.hits_semantic, docs.misses, docs.explored) == (1, 2, 1, 1)
    assert (docs.barred, docs.not_searched, docs.queries) == (1, 1, 7)
    assert docs.hit_rate == 0.5
    assert docs.saved_s == 2.5
    assert (docs.entries, docs.size_bytes, docs.oldest_at_s, docs.newest_at_s) == (2, 110, 100.0, 200.0)


def test_of_what_never_was_there_are_zeros():
    nothing = Statistics(Quotas(10, 1 << 20, lambda name: 1.0)).of("never")
    assert (nothing.queries, nothing.hit_rate, nothing.entries, nothing.oldest_at_s) == (0, None, 0, None)


def test_counts_of_many_threads_add_up():
    statistics = Statistics(Quotas(10, 1 << 20, lambda name: 1.0))

    def count():
        for _ in range(500):
            statistics.count("docs", Outcome.EXACT, 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics.of("docs").hits_exact == 2000
    assert statistics.of("docs").saved_s == 1000

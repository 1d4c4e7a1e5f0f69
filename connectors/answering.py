"""The semantic cache that the settings describe, open: what `kvstore serve` answers from."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from connectors.category_file import CategoryFile
from connectors.embedding_endpoint import EndpointEmbedder
from connectors.proxy.answer_cache import Answering
from connectors.proxy.sameness import same_in_other_words
from connectors.proxy.schemas import CategoryLine
from connectors.setting_tables import SemanticSettings
from kvstore import CorruptFrame, KVCacheError
from semantic_cache.answers import open_answers
from semantic_cache.budgets import Budgets, read_learned, write_learned
from semantic_cache.cache import SemanticCache
from semantic_cache.category import Category
from semantic_cache.certifiers import Certifiers
from semantic_cache.classifier import ExampleClassifier
from semantic_cache.embedder import Embedder
from semantic_cache.examples import Limits
from semantic_cache.in_context import InContext
from semantic_cache.judge import CosineJudge, Judge
from semantic_cache.learned_judge import GuardedJudge, open_judge
from semantic_cache.lexical_embedder import LexicalEmbedder
from semantic_cache.load import LoadFactor, LoadTargets
from semantic_cache.looks import Looks
from semantic_cache.onnx_embedder import open_embedder
from semantic_cache.policy import Policy
from semantic_cache.quota import Quotas
from semantic_cache.seeing_embedder import SeeingEmbedder
from semantic_cache.shelf import Shelf
from semantic_cache.shipped import SHIPPED

_LEARNED, _IN_CONTEXT = "learned.json", "in_context.json"
_TIDY_EVERY_S = 60.0
_log = logging.getLogger(__name__)


@contextmanager
def open_answering(semantic: SemanticSettings) -> Iterator[Answering]:
    """Until the `with` is left. One process has the directory open.

    Raises TierUnavailable when it cannot be opened, InvalidRequest for a broken file of categories, and MissingModel
    when the embedder's model is not installed.
    """
    with ExitStack() as stack:
        embedder, judge = _embedder_and_judge(semantic, stack)
        answers = open_answers(semantic.path, embedder.fingerprint, embedder.dimension, embedder.embed)
        stack.enter_context(answers)
        policies = _Policies(embedder)
        if semantic.categories:
            file = CategoryFile(Path(semantic.categories), policies.take)
            file.load()
            file.start()
            stack.callback(file.close)
        else:
            policies.take(SHIPPED)
        budgets = Budgets(f"{judge.fingerprint}, {embedder.fingerprint}", policies.stored)
        read_learned(semantic.path / _LEARNED, budgets)
        quotas = Quotas(
            semantic.capacity_entries, semantic.capacity_bytes, lambda category: policies.stored(category).quota
        )
        load = LoadFactor(LoadTargets(semantic.target_latency_s, semantic.target_calls))
        shelf = Shelf(answers.documents, answers.index, quotas)
        certifiers = Certifiers(budgets.certifier)
        cache = SemanticCache(shelf, embedder, judge, lambda: policies.in_effect, certifiers, lambda: load.value)
        in_context = InContext(list(policies.in_effect.categories), Limits(examples=semantic.examples))
        _read_in_context(semantic.path / _IN_CONTEXT, in_context)
        stack.callback(_Tidying(cache, semantic.path, budgets, in_context).close)
        same = same_in_other_words(embedder, judge)
        lines = partial(_lines, cache)
        yield Answering(cache, answers.documents, load, lines, same, cache.alike, cache.near, in_context)


class _Policies:
    """The policy in effect, which another takes the place of when the categories change."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.in_effect = Policy(SHIPPED)

    def take(self, categories: Sequence[Category]) -> None:
        """Raises TierUnavailable when the embedder cannot be asked for the examples' vectors."""
        examples = {category.name: category.examples for category in categories}
        self.in_effect = Policy(categories, ExampleClassifier.learned(examples, self._embedder))

    def stored(self, category: str) -> Category:
        return self.in_effect.stored(category)


class _Tidying:
    """Forgets what is too old, and keeps what was learned: once a minute, and at the end."""

    def __init__(self, cache: SemanticCache, directory: Path, budgets: Budgets, in_context: InContext) -> None:
        self._cache, self._directory, self._budgets, self._in_context = cache, directory, budgets, in_context
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="tidying", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._tidy()

    def _go_on(self) -> None:
        while not self._stopped.wait(_TIDY_EVERY_S):
            self._tidy()

    def _tidy(self) -> None:
        write_learned(self._directory / _LEARNED, self._cache.certifiers.between(self._budgets.to_json))
        if self._in_context.num_lessons:
            write_learned(self._directory / _IN_CONTEXT, json.dumps(self._in_context.to_json()))
        try:
            self._cache.drop_expired()
        except KVCacheError as error:
            _log.warning("what is too old stays for now: %s", error)


def _embedder_and_judge(semantic: SemanticSettings, closing: ExitStack) -> tuple[Embedder, Judge]:
    """What the setting names; `closing` ends its connections."""
    if semantic.embedder == "minilm":
        minilm = open_embedder(semantic.path / "model")
        looks = Looks(minilm.look)
        return SeeingEmbedder(minilm, looks), open_judge(looks.look, minilm.fingerprint)
    embedder: Embedder
    if semantic.embedder == "lexical":
        embedder = LexicalEmbedder()
    else:
        endpoint = semantic.embedder, semantic.embedder_model, semantic.embedder_dimension, semantic.embedder_key
        embedder = closing.enter_context(EndpointEmbedder(*endpoint))
    return embedder, GuardedJudge(CosineJudge(embedder.fingerprint))


def _read_in_context(path: Path, in_context: InContext) -> None:
    """What is in the file; of one that is damaged, or of other categories, all is learned anew."""
    if not path.exists():
        return
    try:
        in_context.restore(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, CorruptFrame) as error:
        _log.warning("%s is not read, what examples are worth is learned anew: %s", path, error)


def _lines(cache: SemanticCache) -> list[CategoryLine]:
    """Of every category, for people."""
    return [_line(cache, name) for name in cache.policy().categories]


def _line(cache: SemanticCache, category: str) -> CategoryLine:
    counted, certified = asdict(cache.statistics.of(category)), cache.certifiers.certified(category)
    if math.isinf(certified.threshold):
        return CategoryLine(**counted, observed=certified.observed)
    wrong = None if math.isnan(certified.wrong) else certified.wrong
    return CategoryLine(
        **counted,
        observed=certified.observed,
        threshold=certified.threshold,
        wrong=wrong,
        wrong_at_most=certified.wrong_at_most,
    )

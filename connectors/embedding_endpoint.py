"""EndpointEmbedder: vectors from whoever answers `POST /v1/embeddings` as OpenAI does."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from yarl import URL

from connectors.loop_thread import LoopThread
from connectors.sidecar_connection import text_of
from kvstore import EmbedderUnavailable, InvalidRequest, TierUnavailable
from semantic_cache.embedder import Embedder, Vectors

MOST_CHARACTERS = 8_000  # of a text: models of 8,192 tokens take that many in nearly every script
_TEXTS_AT_ONCE = 32
_MOST_REASON = 200


class EndpointEmbedder(Embedder):
    """Begins to connect when it is first asked; `with` ends its connections. Texts are cut at `most_characters`.

    A text has the same vector always as far as the endpoint gives it one. Raises EmbedderUnavailable when it does not
    answer in time, answers something else than asked, or is closed. Nothing is tried twice.
    """

    def __init__(
        self,
        url: str,
        model: str,
        dimension: int,
        key: str = "",
        timeout_s: float = 5.0,
        most_characters: int = MOST_CHARACTERS,
    ) -> None:
        """`url` is what `/embeddings` is put behind: https://HOST/v1. `timeout_s` is for 32 texts, which go at once.

        Raises InvalidRequest for another kind of URL, or where something is no number of anything.
        """
        at = _endpoint(url)
        if not (dimension > 0 and most_characters > 0 and timeout_s > 0):
            raise InvalidRequest(
                f"a dimension ({dimension}), a length ({most_characters}), a time ({timeout_s}): above 0"
            )
        self._url, self._model, self._most_characters = at / "embeddings", model, most_characters
        self._timeout = aiohttp.ClientTimeout(timeout_s)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None
        self._loop = LoopThread(f"the embedder at {at}")
        self.dimension = dimension
        self.fingerprint = f"endpoint {at} {model} [{dimension}] {most_characters} characters"

    def embed(self, texts: Sequence[str]) -> Vectors:
        try:
            return self._loop.result(self._loop.begin(self._all, texts))
        except TierUnavailable as error:
            raise EmbedderUnavailable(str(error)) from error

    def close(self) -> None:
        """Safe to repeat."""
        self._loop.close(self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def _all(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            vectors[start : start + len(some)] = self._vectors_in(await self._ask(some), len(some))
        return vectors

    async def _ask(self, texts: Sequence[str]) -> bytes:
        body = {"model": self._model, "input": [self._sendable(text) for text in texts]}
        try:
            async with self._opened().post(self._url, json=body, allow_redirects=False) as response:
                answer = await text_of(response)
                if response.status != 200:
                    raise EmbedderUnavailable(f"{self._url} answers {response.status}: {_reason(answer)}")
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise EmbedderUnavailable(f"{self._url} cannot be asked: {reason}") from error

    def _sendable(self, text: str) -> str:
        """An empty input is refused by some, half a surrogate pair by all."""
        return text[: self._most_characters].encode("utf-8", "replace").decode() or " "

    def _vectors_in(self, answer: bytes, expected: int) -> Vectors:
        """[text, dimension], each of length 1, in the order of the texts."""
        try:
            embeddings = _Answer.model_validate_json(answer).data
        except ValidationError as error:
            raise EmbedderUnavailable(f"{self._url} answers as no embedder does: see its URL") from error
        if sorted(each.index for each in embeddings) != list(range(expected)):
            raise EmbedderUnavailable(f"{self._url} gives {len(embeddings)} vectors, or not those, of {expected} texts")
        for each in embeddings:
            if len(each.embedding) != self.dimension:
                raise EmbedderUnavailable(
                    f"{self._url} gives vectors of dimension {len(each.embedding)}, not {self.dimension}: "
                    "see the model and the dimension in the settings"
                )
        embeddings.sort(key=lambda each: each.index)
        return self._of_length_one(np.array([each.embedding for each in embeddings], np.float64))

    def _of_length_one(self, vectors: NDArray[np.float64]) -> Vectors:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise EmbedderUnavailable(f"{self._url} gives a vector without a length")
        normalized: Vectors = (vectors / lengths).astype(np.float32)
        return normalized

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self._session

    async def _ended(self) -> None:
        if self._session is not None:
            await self._session.close()


def _endpoint(url: str) -> URL:
    """Says what is wrong with another one without saying it, for there may be a secret in it."""
    try:
        at = URL(url)
    except ValueError:
        at = URL()
    if at.scheme not in ("http", "https") or not at.host or at.user or at.password or at.query_string or at.fragment:
        raise InvalidRequest("the endpoint's URL has the form https://HOST/v1, without user, password and query")
    return at


class _Embedding(BaseModel):
    index: int
    embedding: list[float]


class _Answer(BaseModel):
    data: list[_Embedding]


class _Problem(BaseModel):
    message: str


class _ProblemAnswer(BaseModel):
    error: _Problem


def _reason(answer: bytes) -> str:
    """What it says is wrong, in short."""
    try:
        return _ProblemAnswer.model_validate_json(answer).error.message[:_MOST_REASON]
    except ValidationError:
        return "see its URL, model and key in the settings"

"""What the connector's two sides send each other through vLLM: worker to scheduler at the start, then step by step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorHandshakeMetadata,
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from connectors.vllm.plan import Step
from connectors.vllm.store_client import RankMemory


@dataclass
class Handshake(KVConnectorHandshakeMetadata):
    """A worker's KV, its staging memory and its tokens in a block; or why it has none."""

    memory: RankMemory | None = None
    block_tokens: int = 0
    unsupported: str = ""


@dataclass
class StepMetadata(KVConnectorMetadata):
    step: Step = field(default_factory=Step)


@dataclass
class Done(KVConnectorWorkerMetadata):
    """How many workers have done, or failed to do, which jobs."""

    copied: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)

    def aggregate(self, other: KVConnectorWorkerMetadata) -> Done:
        assert isinstance(other, Done)
        return Done(self.copied + other.copied, self.failed + other.failed)

"""Owner: whose a request is, and all else but the model and its tokens that says which KV is right for it."""

from __future__ import annotations

from dataclasses import dataclass

from kvstore import LoRA, Multimodal


@dataclass(frozen=True)
class Owner:
    tenant: str = ""
    """The store's tenant, and the request's salt."""
    lora: LoRA | None = None
    multimodal: tuple[Multimodal, ...] = ()

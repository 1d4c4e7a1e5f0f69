"""Reuse away from the prefix: segments, and the fusing of segments into one KV array."""

from blend.content_defined import content_defined
from blend.fusion import Fusion, Shares
from blend.library import Found, Library
from blend.packing import Packing
from blend.prefill import Prefill
from blend.segment import Layout, Segment, identity_of_segment
from blend.select import SELECTORS, Compared, Deviation, LossWeighted, Selector

__all__ = [
    "SELECTORS",
    "Compared",
    "Deviation",
    "Found",
    "Fusion",
    "Layout",
    "Library",
    "LossWeighted",
    "Packing",
    "Prefill",
    "Segment",
    "Selector",
    "Shares",
    "content_defined",
    "identity_of_segment",
]

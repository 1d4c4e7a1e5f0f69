"""Bodies that are taken whole, with the checksum that they came under."""

from __future__ import annotations

from typing import Annotated

import xxhash
from fastapi import Header, Request

from connectors.sidecar.context import Context, body_of
from connectors.sidecar.problems import Problem
from kvstore.tier import Frame

CHECKSUM = r"^[0-9a-f]{32}$"
Checksum = Annotated[str, Header(alias="Kvstore-Xxh3", pattern=CHECKSUM, description="XXH3-128 of the body, in hex.")]


async def checked_body(request: Request, context: Context, checksum: str) -> Frame:
    """Raises Problem where other bytes came than `checksum` is of, or too few of them."""
    async with body_of(request, context) as (num_bytes, pieces):
        came = [piece async for piece in pieces if piece]
    body = came[0] if len(came) == 1 else b"".join(came)
    if len(body) != num_bytes:
        raise Problem("invalid-request", f"{len(body)} bytes came of {num_bytes}")
    if xxhash.xxh3_128_hexdigest(body) != checksum:
        raise Problem("checksum-mismatch", f"the XXH3-128 of the {len(body)} bytes that came is not {checksum}")
    return body

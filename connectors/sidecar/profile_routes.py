"""Profiles, which frames need to be decoded: named by the SHA-256 of their content, the same for all tenants.

An engine may code with any profile of its model that it finds here, so that no tenant may add one for the others.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import xxhash
from fastapi import APIRouter, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from connectors.sidecar.context import CallerOf, ContextOf, body_of
from connectors.sidecar.problems import Problem, responses
from connectors.sidecar.schemas import ProfileList
from kvstore import MissingProfile, Tiers

router = APIRouter(prefix="/v1/profiles", tags=["profiles"])
Fingerprint = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the profile: 64 hex digits.")]
MOST_OF_TENANTS = 64
_CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_CHECKSUM = r"^[0-9a-f]{32}$"
_ALWAYS = ("unauthorized", "invalid-request", "too-many-requests", "unavailable")


@router.get("", responses=responses(*_ALWAYS))
async def list_profiles(caller: CallerOf, context: ContextOf) -> ProfileList:
    """Fingerprints of the profiles held, the newest first."""
    return ProfileList(profiles=await run_in_threadpool(context.service.tiers.profiles))


@router.get(
    "/{fingerprint}",
    response_class=Response,
    responses={
        200: {"description": "The profile: a safetensors file.", "content": _CONTENT},
        **responses(*_ALWAYS, "not-found"),
    },
)
async def get_profile(fingerprint: Fingerprint, caller: CallerOf, context: ContextOf) -> Response:
    """The profile. `Kvstore-Xxh3` is its XXH3-128."""
    try:
        content = await run_in_threadpool(context.service.tiers.profile, fingerprint)
    except MissingProfile as error:
        raise Problem("not-found", f"profile {fingerprint} is damaged: save with it once more") from error
    if content is None:
        raise Problem("not-found", f"no profile {fingerprint} is held")
    headers = {"Kvstore-Xxh3": xxhash.xxh3_128_hexdigest(content)}
    return Response(content, 200, headers, "application/octet-stream")


@router.put(
    "/{fingerprint}",
    status_code=204,
    responses=responses(
        *_ALWAYS,
        "forbidden",
        "timeout",
        "length-required",
        "too-large",
        "checksum-mismatch",
        "corrupt-frame",
        "busy",
        "no-room",
    ),
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
)
async def put_profile(
    fingerprint: Fingerprint,
    request: Request,
    caller: CallerOf,
    context: ContextOf,
    checksum: Annotated[
        str, Header(alias="Kvstore-Xxh3", pattern=_CHECKSUM, description="XXH3-128 of the body, in hex.")
    ],
) -> None:
    """Keep a profile, as durably as the frames that need it: for the admin's token. Safe to repeat."""
    if not caller.is_admin:
        raise Problem("forbidden", "profiles are for all tenants: the admin token adds them")
    async with body_of(request, context) as (num_bytes, pieces):
        content = b"".join([piece async for piece in pieces])
    if len(content) != num_bytes or xxhash.xxh3_128_hexdigest(content) != checksum:
        raise Problem("checksum-mismatch", f"the XXH3-128 of the {len(content)} bytes that came is not {checksum}")
    if not await run_in_threadpool(_keep, context.service.tiers, fingerprint, content, caller.is_admin):
        raise Problem("no-room", "no tier keeps it: none keeps profiles, or a tier failed")


def _keep(tiers: Tiers, fingerprint: str, content: bytes, by_admin: bool) -> bool:
    """Raises Problem when the content has another name, or tenants have had too many kept."""
    if hashlib.sha256(content).hexdigest() != fingerprint:
        raise Problem("invalid-request", f"the SHA-256 of the {len(content)} bytes that came is not {fingerprint}")
    held = [] if by_admin else tiers.profiles()
    if len(held) >= MOST_OF_TENANTS and fingerprint not in held:
        raise Problem("no-room", f"{len(held)} profiles are kept already: the admin token may add more")
    return tiers.keep_profile(fingerprint, content)

"""Profiles, which frames need to be decoded: named by the SHA-256 of their content, the same for all tenants.

An engine may code with any profile of its model that it finds here, so that no tenant may add one for the others.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import xxhash
from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from connectors.sidecar.checked_body import Checksum, checked_body
from connectors.sidecar.context import CallerOf, ContextOf
from connectors.sidecar.problems import ALWAYS, OF_BODIES, Problem, responses
from connectors.sidecar.schemas import ProfileList
from kvstore import MissingProfile

router = APIRouter(prefix="/v1/profiles", tags=["profiles"])
Fingerprint = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the profile: 64 hex digits.")]
_CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.get("", responses=responses(*ALWAYS))
async def list_profiles(caller: CallerOf, context: ContextOf) -> ProfileList:
    """Fingerprints of the profiles held, the newest first."""
    return ProfileList(profiles=await run_in_threadpool(context.service.tiers.profiles))


@router.get(
    "/{fingerprint}",
    response_class=Response,
    responses={
        200: {"description": "The profile: a safetensors file.", "content": _CONTENT},
        **responses(*ALWAYS, "not-found"),
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
    responses=responses(*ALWAYS, *OF_BODIES, "forbidden", "checksum-mismatch", "corrupt-frame", "no-room"),
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
)
async def put_profile(
    fingerprint: Fingerprint,
    request: Request,
    caller: CallerOf,
    context: ContextOf,
    checksum: Checksum,
) -> None:
    """Keep a profile, as durably as the frames that need it: for the admin's token. Safe to repeat."""
    if not caller.is_admin:
        raise Problem("forbidden", "profiles are for all tenants: the admin token adds them")
    content = bytes(await checked_body(request, context, checksum))
    if hashlib.sha256(content).hexdigest() != fingerprint:
        raise Problem("invalid-request", f"the SHA-256 of the {len(content)} bytes that came is not {fingerprint}")
    if not await run_in_threadpool(context.service.tiers.keep_profile, fingerprint, content):
        raise Problem("no-room", "no tier keeps it: none keeps profiles, or a tier failed")

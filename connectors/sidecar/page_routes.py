"""The page at `/`: a dashboard of a few files that were read once. What it shows comes from the service's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

import xxhash
from fastapi import APIRouter, Request, Response

from connectors.sidecar.problems import Problem

router = APIRouter(include_in_schema=False)
_FIRST = "index.html"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    def answer(self, request: Request) -> Response:
        """The file, or that the one its reader has is still right."""
        headers = {**_HEADERS, "ETag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def _read() -> Mapping[str, _File]:
    """The files of the page, by name."""
    files = {}
    for found in resources.files(__package__).joinpath("page").iterdir():
        media_type = _MEDIA_TYPES.get(PurePath(found.name).suffix)
        if media_type is not None:
            content = found.read_bytes()
            files[found.name] = _File(content, media_type, f'"{xxhash.xxh3_128_hexdigest(content)}"')
    return files


_FILES = _read()


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page. It holds nothing of anybody's: that takes a token where there are any."""
    return _FILES[_FIRST].answer(request)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(name: str, request: Request) -> Response:
    """What the page is drawn with."""
    found = _FILES.get(name)
    if found is None:
        raise Problem("not-found", "the page has no file of that name")
    return found.answer(request)

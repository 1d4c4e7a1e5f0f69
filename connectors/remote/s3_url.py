"""S3Address: what an s3:// URL says, and the client that it asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlencode, urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from connectors.remote.url_parts import options_of
from connectors.sidecar.loopback import is_loopback
from kvstore import InvalidRequest

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_FORM = (
    "s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&allow_http=true&virtual_hosted_style_request=true]; credentials "
    "are those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...) unless access_key_id, "
    "secret_access_key and session_token are given"
)
_PLACE = ("endpoint", "region", "virtual_hosted_style_request")
_SECRET = ("access_key_id", "secret_access_key", "session_token")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*|", re.ASCII)


@dataclass(frozen=True)
class S3Address:
    bucket: str
    prefix: str
    place: dict[str, str]
    """Where the bucket is, as obstore calls it; what is not said there is as the environment says."""
    secrets: dict[str, str] = field(repr=False)
    allow_http: bool

    @classmethod
    def of(cls, url: str) -> S3Address:
        """Raises InvalidRequest when the URL is not of the form that the message gives; it never repeats it.

        Nothing goes over plain HTTP but to this host, or where `allow_http=true` says so.
        """
        try:
            parts = urlsplit(url)
            options = options_of(parts)
            allow_http = {"true": True, "false": False}[options.pop("allow_http", "false")]
            bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
            if parts.scheme != "s3" or not _BUCKET.fullmatch(bucket) or not _PREFIX.fullmatch(prefix):
                raise ValueError
            if set(options) - set(_PLACE) - set(_SECRET) or parts.fragment:
                raise ValueError
            endpoint = urlsplit(options.get("endpoint", "https://aws"))
            if endpoint.scheme not in ("http", "https") or not endpoint.hostname or "@" in endpoint.netloc:
                raise ValueError
        except (ValueError, KeyError):
            raise InvalidRequest(f"the address of the S3 bucket is none; expected is {_FORM}") from None
        if endpoint.scheme == "http" and not (allow_http or is_loopback(endpoint.hostname)):
            raise InvalidRequest(
                f"{endpoint.hostname} would be spoken to in clear: give an endpoint with https://, or allow_http=true"
            )
        place, secrets = ({name: options[name] for name in names if name in options} for names in (_PLACE, _SECRET))
        return cls(bucket, prefix, place, secrets, endpoint.scheme == "http" or allow_http)

    @property
    def shown(self) -> str:
        """The URL without whatever is secret."""
        place = f"?{urlencode(self.place, safe=':/')}" if self.place else ""
        return f"s3://{self.bucket}{f'/{self.prefix}' if self.prefix else ''}{place}"

    def client(self, timeout_s: float) -> Client:
        """Of obstore, not yet connected, which tries nothing twice. Raises InvalidRequest on settings it cannot use."""
        patience = timedelta(seconds=timeout_s)
        options: ClientConfig = {
            "timeout": patience,
            "connect_timeout": patience,
            "allow_http": self.allow_http,
        }
        config = cast("S3Config", {**self.place, **self.secrets, "copy_if_not_exists": "multipart"})
        retries: RetryConfig = {"max_retries": 0}
        try:
            return Client(
                self.bucket, prefix=self.prefix or None, config=config, client_options=options, retry_config=retries
            )
        except (BaseError, ValueError) as error:
            raise InvalidRequest(f"no S3 client for {self.shown}: {str(error).splitlines()[0]}") from error

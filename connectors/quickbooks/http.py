"""One bounded HTTP exchange with Intuit: allowed hosts only, no redirect, no proxy, no body without end.

Guarantees: nothing is sent to a host that the settings do not imply; a body over `BODY_BYTES_MAX`, also when it was
compressed, is cut off and refused; every failure to get a whole answer is `NoAnswer`.
Source: OWASP API Security 2023, API7 and API10 (requests to other hosts, unsafe consumption).
"""

import ipaddress
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import httpx

from connectors.config import Settings

BODY_BYTES_MAX = 32 * 1024 * 1024
CONNECT_S_MAX = 5.0
CONNECTIONS_MAX = 100
GZIP = 16 + zlib.MAX_WBITS


class NoAnswer(Exception):
    """No whole answer came back; whether the request was carried out is not known."""


class HostRefused(Exception):
    """The address is not one that the settings imply: a forged document, or wrong settings."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def intuit_tid(self) -> str:
        """What Intuit's support asks for."""
        return self.headers.get("intuit_tid", "")


class Http:
    """Use as a context manager; one for a process."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = {_origin(settings.quickbooks_api_url), _origin(settings.quickbooks_discovery_url)}
        self._domains = {domain for origin in self._allowed if (domain := _domain(origin)) is not None}
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=20)
        timeout = httpx.Timeout(settings.quickbooks_timeout_s, connect=CONNECT_S_MAX)
        self._client = httpx.AsyncClient(
            timeout=timeout, limits=limits, follow_redirects=False, trust_env=False, http1=True, http2=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def check(self, url: str) -> str:
        """The address itself. Raises HostRefused when it is not one of Intuit's, as the settings imply."""
        scheme, host, port = _origin(url)
        known = (scheme, host, port) in self._allowed
        same_domain = scheme == "https" and port == 443 and _domain((scheme, host, port)) in self._domains
        if not known and not same_domain:
            raise HostRefused(f"{scheme}://{host}:{port} is not an address that the settings allow")
        return url

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes = b"", within_s: float | None = None
    ) -> Reply:
        """One request, one answer. Raises NoAnswer, HostRefused."""
        self.check(url)
        timeout = httpx.USE_CLIENT_DEFAULT if within_s is None else httpx.Timeout(within_s, connect=CONNECT_S_MAX)
        sent = {"Accept-Encoding": "gzip", **headers}
        try:
            async with self._client.stream(method, url, headers=sent, content=content, timeout=timeout) as response:
                body = await _body(response)
        except httpx.HTTPError as error:
            raise NoAnswer(type(error).__name__) from error
        return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


async def _body(response: httpx.Response) -> bytes:
    """Unpacked by ourselves, so that a few bytes cannot become gigabytes in memory."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise NoAnswer(f"the answer is encoded as {encoding}, which was not asked for")
    unpack = zlib.decompressobj(GZIP) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk if unpack is None else _unpacked(unpack, chunk, BODY_BYTES_MAX + 1 - len(body))
        if len(body) > BODY_BYTES_MAX:
            raise NoAnswer(f"the answer is larger than {BODY_BYTES_MAX} bytes")
    if unpack is not None and not unpack.eof:
        raise NoAnswer("the answer was cut off")
    return bytes(body)


def _unpacked(unpack: "zlib._Decompress", chunk: bytes, bytes_max: int) -> bytes:
    try:
        return unpack.decompress(chunk, bytes_max)
    except zlib.error as error:
        raise NoAnswer("the answer's compression is broken") from error


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise HostRefused("an address must be http or https, with a host and without a user")
    return parts.scheme, parts.hostname.lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _domain(origin: tuple[str, str, int]) -> str | None:
    """`intuit.com` for a host below it; None for addresses and plain names, which stand for themselves only."""
    scheme, host, _port = origin
    labels = host.split(".")
    if scheme != "https" or len(labels) < 3 or _is_address(host):
        return None
    return ".".join(labels[-2:])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

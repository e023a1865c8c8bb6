"""An HTTP/1.1 server that a stranger may face: strict about what a request is, bounded in what it may cost.

Reads: a listening socket. Writes: nothing of its own.
Guarantees: a request that two parsers could understand in two ways is answered 400 and its connection closed; heads are
bounded in size, fields and time, bodies in time; every answer, also one that no application made, carries the security
headers and no `Server`. A stop lets requests that run be answered.
Source: promises 2.2 row 5, 2.3; RFC 9112 sections 2.2, 5.2, 6.1, 6.3.
"""

import asyncio
import http
import socket
from collections.abc import Sequence
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 16 * 1024
FIELDS_MAX = 100
URL_BYTES_MAX = 2 * 1024
HEAD_S_MAX = 5.0
BODY_S_MAX = 5.0
KEEP_ALIVE_S = 15
STOP_S_MAX = 10
BACKLOG = 2048

SECURITY_HEADERS = (
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), payment=(), "
        "usb=(), browsing-topics=()",
    ),
    ("x-frame-options", "DENY"),
)
NO_PAGES_POLICY = (
    "content-security-policy",
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
)

log = structlog.get_logger()


class NotARequest(Exception):
    """What arrived is no request that we understand in one way only."""


class StrictHttp(HttpToolsProtocol):
    """uvicorn's protocol, with limits for heads and without what makes requests ambiguous.

    The parser itself refuses bare line feeds, folded lines, several lengths and a length beside an encoding.
    """

    _status = http.HTTPStatus.BAD_REQUEST
    _part = "head"  # what must arrive next; empty: nothing, between requests
    _head_bytes = 0
    _timed = ""  # the part for whose end the timer waits
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Also starts the time in which the first head must arrive."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Also forgets the timer."""
        self._part = ""
        self._watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Also bounds the size of a head that does not end, and the time of heads and bodies.

        A request that arrives at once, as almost all do, costs no timer.
        """
        in_head = self._part == "head"
        super().data_received(data)
        if self._part != self._timed:
            self._watch()
        if in_head and self._part == "head":
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._answer(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._part = "head"
        self._head_bytes = 0

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._part = ""
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """Part of the address."""
        super().on_url(url)
        if len(self.url) > URL_BYTES_MAX:
            self._refuse(http.HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > HEAD_BYTES_MAX or len(self.headers) > FIELDS_MAX:
            self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large")

    def on_headers_complete(self) -> None:
        """The head is whole: refuse what is not plain HTTP/1.1 or 1.0."""
        self._part = "body"
        reason = _ambiguous(self.parser.get_http_version(), self.headers)
        if reason or self.parser.should_upgrade():
            self._refuse(http.HTTPStatus.BAD_REQUEST, reason or "no upgrades here")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser, or one of the checks above, refused."""
        self._answer(self._status)

    def _refuse(self, status: http.HTTPStatus, reason: str) -> None:
        self._status = status
        raise NotARequest(reason)

    def _answer(self, status: http.HTTPStatus) -> None:
        """Answer what no application answers, and close."""
        fields = [*self.server_state.default_headers, (b"content-length", b"0"), (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %s" % (status.value, status.phrase.encode())]
        lines += [name + b": " + value for name, value in fields]
        self.transport.write(b"\r\n".join([*lines, b"", b""]))
        self.transport.close()

    def _watch(self) -> None:
        """Wait for the end of the part that arrives now, for a bounded time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timed, self._timer = self._part, None
        if self._part:
            self._timer = self.loop.call_later(HEAD_S_MAX if self._part == "head" else BODY_S_MAX, self._late)

    def _late(self) -> None:
        if not self.transport.is_closing():
            self._answer(http.HTTPStatus.REQUEST_TIMEOUT)


def _ambiguous(version: str, fields: Sequence[tuple[bytes, bytes]]) -> str:
    """Why a proxy in front of us could understand this head in another way; empty: it could not."""
    encodings = [value for name, value in fields if name == b"transfer-encoding"]
    hosts = sum(name == b"host" for name, _ in fields)
    if version not in ("1.1", "1.0"):
        return "the version is none that we speak"
    if encodings and (version == "1.0" or [value.lower() for value in encodings] != [b"chunked"]):
        return "the body is encoded in a way that we do not speak"
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "there must be one Host"
    return ""


def serve(app: Any, host: str, port: int, *, extra_headers: Sequence[tuple[str, str]] = (NO_PAGES_POLICY,)) -> None:
    """Serve an ASGI application until SIGTERM or SIGINT; port 0: a free one. Its address stands in the log."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=StrictHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[*SECURITY_HEADERS, *extra_headers],
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S_MAX,
    )
    listening = _listen(host, port)
    listening.listen(BACKLOG)  # whoever reads the line below may connect at once
    log.info("listening", url="http://{}:{}".format(*listening.getsockname()[:2]))
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.set_inheritable(False)
    return listening

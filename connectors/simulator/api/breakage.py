"""Answers that a network or a hostile peer makes: resets, cut bodies, floods, gzip bombs.

Reads: a rule. Writes: bytes, or the end of a connection.
Guarantees: memory stays small whatever size of body is asked for; a reset is one on the wire, not a polite end.
Source: intuit.md 7.16; hostile answers are nobody's habit, but a client must survive them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from connectors.simulator.api.trouble import FaultRule

BLOCK = 1 << 20
JSON_TYPE = "application/json;charset=utf-8"


class Reset(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reset the connection."""
        transport = _transport(scope)
        linger = struct.pack("ii", 1, 0)  # close with RST, not FIN
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _ended(receive)


class Cut(Response):
    """An answer that stops in the middle: the connection ends before all of the promised body is sent."""

    def __init__(self, whole: Response) -> None:
        super().__init__(b"", whole.status_code, media_type=whole.media_type)
        self.whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise the whole body, send its first half, and hang up."""
        body = bytes(self.whole.body)
        start = {"type": "http.response.start", "status": self.whole.status_code, "headers": self.whole.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        _transport(scope).close()
        await _ended(receive)


def _transport(scope: Scope) -> asyncio.Transport:
    """The connection of a request; a caller in the same process has none and sees an error at once."""
    found: asyncio.Transport | None = scope.get("state", {}).get("transport")
    if found is None:
        raise ConnectionResetError("the connection broke")
    return found


async def _ended(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def instead(rule: FaultRule) -> Response | None:
    """What a rule answers instead of any work, where it is not a fault of Intuit's own."""
    if rule.kind == "reset":
        return Reset()
    if rule.kind == "redirect":
        return Response(b"", 302, {"location": rule.location})
    if rule.kind == "bomb":
        return StreamingResponse(_bomb(rule.bytes), 200, {"content-encoding": "gzip", "content-type": JSON_TYPE})
    if rule.kind == "flood":
        headers = {"content-length": str(rule.bytes), "content-type": JSON_TYPE}
        return StreamingResponse(_flood(rule.bytes), 200, headers)
    return None


def broken(rule: FaultRule | None, response: Response) -> Response:
    """What a rule that breaks connections leaves of an answer."""
    if rule is None or rule.kind not in ("cut", "lost"):
        return response
    if rule.kind == "lost":
        return Reset()
    return Cut(response)


async def _flood(size: int) -> AsyncIterator[bytes]:
    block, left = b" " * BLOCK, size
    while left > 0:
        yield block[: min(left, BLOCK)]
        left -= BLOCK
        await asyncio.sleep(0)  # so that the end of the connection is noticed


async def _bomb(size: int) -> AsyncIterator[bytes]:
    """One gzip stream of spaces: the same packed block again and again, about a thousandth of what it unfolds to."""
    block = b" " * BLOCK
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # a block that stands by itself
    rest = packer.compress(block[: size % BLOCK]) + packer.flush()
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    checked = 0
    for _ in range(size // BLOCK):
        checked = zlib.crc32(block, checked)
        yield packed
        await asyncio.sleep(0)
    checked = zlib.crc32(block[: size % BLOCK], checked)
    yield rest + struct.pack("<II", checked, size & 0xFFFFFFFF)

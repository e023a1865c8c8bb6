"""What the control page said after a change, for the page that is shown next.

Reads and writes: memory. Guarantees: only the latest are kept; a message is found by an address, so that a reload and
the back button show it again and repeat nothing.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.responses import RedirectResponse, Response

KEPT = 500


@dataclass(frozen=True, slots=True)
class Message:
    """What happened, and the events that it caused."""

    text: str
    is_refusal: bool = False
    event_ids: list[str] = field(default_factory=list)  # as they go out, the first few
    link: str | None = None  # the record it is about


class Messages:
    """The latest messages, by a key in the address."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Message] = OrderedDict()

    def get(self, key: str) -> Message | None:
        """A message, as long as it is kept."""
        return self._kept.get(key)

    def shown_at(self, address: str, message: Message) -> Response:
        """To a page of ours that shows this message."""
        key = secrets.token_urlsafe(8)
        self._kept[key] = message
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        plain = _without_said(address)
        return RedirectResponse(f"{plain}{'&' if '?' in plain else '?'}said={key}#said", 303)


def _without_said(address: str) -> str:
    """The address, if it is one of the control page, without an earlier message; else the control page's own."""
    if not address.startswith("/_sim") or any(sign in address for sign in "\\\r\n"):
        return "/_sim"
    path, _, query = address.partition("?")
    kept = [part for part in query.partition("#")[0].split("&") if part and not part.startswith("said=")]
    return path + ("?" + "&".join(kept) if kept else "")

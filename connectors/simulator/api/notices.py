"""What a webhook looks like on the wire: both bodies, the headers, the signature.

Reads and writes: nothing.
Guarantees: `time` and `lastUpdated` are the true moment of the change in one of the forms that were seen; the signature
is over the exact bytes; what Intuit sends only sometimes is sent only sometimes.
Source: intuit.md 1.2-1.5, 7.1, 7.2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from connectors.simulator.api.company import Event
from connectors.simulator.wire import RawJson, encode

SOURCE = "intuit.dsnBgbseACLLRZNxo2dfc4evmEJdxde58xeeYcZliOU="
PACIFIC = ZoneInfo("America/Los_Angeles")
JSON_TYPE = "application/json; charset=utf-8"
CLOUDEVENTS_TYPE = "application/cloudevents+json"
PAST_TENSE = {
    "Create": "created",
    "Update": "updated",
    "Delete": "deleted",
    "Merge": "merged",
    "Void": "void",
    "Emailed": "emailed",
}


@dataclass(frozen=True, slots=True)
class Queued:
    """An event with the id it goes out under."""

    id: str
    event: Event
    key: str  # its own, also where the id is used twice
    due_at: datetime


def event_id(event: Event, dice: random.Random) -> str:
    """A new id: a UUID, now and then with the record behind it."""
    plain = str(uuid.uuid4())
    return f"{plain}-{event.entity}-{event.id}" if dice.random() < 0.1 else plain


def cloud_events_body(
    taken: Sequence[Queued],
    dice: random.Random,
    void_word: str = "void",
    picture: Callable[[Event], str | None] | None = None,
) -> list[dict[str, Any]]:
    """The present format: an array with one element per event, of any companies; `picture` fills its `data`."""
    bodies = [_cloud_event(one, dice, void_word) for one in taken]
    for queued, body in zip(taken, bodies, strict=True):
        if picture is not None and not queued.event.gone_id and (text := picture(queued.event)) is not None:
            body["data"] = RawJson(text)
    return bodies


def _cloud_event(queued: Queued, dice: random.Random, void_word: str) -> dict[str, Any]:
    event = queued.event
    word = void_word if event.operation == "Void" else PAST_TENSE[event.operation]
    body: dict[str, Any] = {
        "specversion": "1.0",
        "id": queued.id,
        "source": SOURCE,
        "type": f"qbo.{event.entity.lower()}.{word}.v1",
        "datacontenttype": "application/json",
        "time": cloud_event_time(event.at, dice.choice((0, 3, 9))),
        "intuitentityid": event.id,
        "intuitaccountid": event.realm,
        "data": {"deletedid": event.gone_id} if event.gone_id else {},
    }
    if not event.gone_id and dice.random() < 0.02:
        alternative = {"id": f"djQuMTo{event.realm}:{event.id}", "namespace": "Intuit.sbseg.v4"}
        body["data"] = {"alternative_ids": [alternative]}
    return body


def legacy_body(taken: Sequence[Queued], dice: random.Random) -> dict[str, Any]:
    """The old format: one entry per company, in the order of their first event."""
    by_realm: dict[str, list[dict[str, str]]] = {}
    for one in taken:
        event = one.event
        entity = {
            "name": event.entity,
            "id": event.id,
            "operation": event.operation,
            "lastUpdated": legacy_time(event.at, dice.choice(("Z", ".Z", "offset"))),
        }
        if event.gone_id:
            entity["deletedId"] = event.gone_id
        by_realm.setdefault(event.realm, []).append(entity)
    notes = [{"realmId": realm, "dataChangeEvent": {"entities": entities}} for realm, entities in by_realm.items()]
    return {"eventNotifications": notes}


def cloud_event_time(at: datetime, digits: int) -> str:
    """The moment in UTC with so many digits behind the second."""
    utc = at.astimezone(UTC)
    fraction = {0: "", 3: f".{utc.microsecond // 1000:03d}", 9: f".{utc.microsecond:06d}517"}[digits]
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def legacy_time(at: datetime, form: str) -> str:
    """The moment in one of the three forms that were seen; an offset is written without a colon."""
    if form == "offset":
        return at.astimezone(PACIFIC).strftime("%Y-%m-%dT%H:%M:%S%z")
    utc = at.astimezone(UTC)
    fraction = f".{utc.microsecond // 1000:03d}" if form == "Z" else ".000"
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def body_bytes(body: Any, dice: random.Random | None = None) -> bytes:
    """A body as it is sent; with dice its keys stand in another order, with white space around them."""
    if dice is None:
        return encode(body).encode()
    shuffled = _shuffled(body, dice)
    if isinstance(shuffled, list):
        return ("[\n  " + ",\n  ".join(encode(one) for one in shuffled) + "\n]\n").encode()
    return ("\n " + encode(shuffled) + " \n").encode()


def _shuffled(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        dice.shuffle(keys)
        return {key: _shuffled(value[key], dice) for key in keys}
    return [_shuffled(one, dice) for one in value] if isinstance(value, list) else value


def headers_of(delivery_id: str, content_type: str, at: datetime) -> dict[str, str]:
    """Every header of a delivery but its signature."""
    return {
        "content-type": content_type,
        "intuit-created-time": at.astimezone(PACIFIC).strftime("%Y-%m-%dT%H:%M:%S%z"),
        "intuit-t-id": delivery_id,
        "intuit-notification-schema-version": "0.1",
        "user-agent": "intuit_notification_server/0.1",
    }


def signature(verifier_token: str, body: bytes) -> str:
    """What Intuit writes into `intuit-signature`: base64 of HMAC-SHA256 over the exact bytes."""
    return base64.b64encode(hmac.new(verifier_token.encode(), body, hashlib.sha256).digest()).decode()

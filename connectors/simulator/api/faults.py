"""Faults: the exact bodies Intuit sends, and the rules by which a test asks for them.

Reads: rules set by the control API. Writes: nothing but the count left on each rule.
Guarantees: a rule with a count is used up after so many answers; rules are tried in the order they were set.
Source: intuit.md 3.8, 7.13, 7.14, 7.16.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict, dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from typing import Any

from connectors.simulator.books.records import Refused
from connectors.simulator.wire import encode

JSON = "application/json"
XML = "application/xml"
HTML = "text/html"


@dataclass(frozen=True, slots=True)
class FaultAnswer:
    """An answer that is no success."""

    status: int
    body: str
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def refusal(refused: Refused, time: str) -> FaultAnswer:
    """A validation fault, as recorded: an id that is no number is refused too early to be told the time."""
    when = {} if refused.code == "2030" else {"time": time}
    return FaultAnswer(400, encode({"Fault": fault_of(refused)} | when))


def fault_of(refused: Refused) -> dict[str, Any]:
    """The inner fault, as it also stands in a batch item."""
    error = {"Message": refused.message, "Detail": refused.detail, "code": refused.code}
    if refused.element is not None:
        error["element"] = refused.element
    return {"Error": [error], "type": "ValidationFault"}


def unauthenticated(token: str, now: datetime) -> FaultAnswer:
    """401 with lower-case keys and a numeric time: token expired, revoked or malformed."""
    error = {
        "message": "message=AuthenticationFailed; errorCode=003200; statusCode=401",
        "detail": f"Token expired: {token[:12]}" if token else "Missing token",
        "code": "3200",
        "element": None,
    }
    body: dict[str, Any] = {
        **{
            "warnings": None,
            "intuitObject": None,
            "fault": {"error": [error], "type": "AUTHENTICATION"},
            "report": None,
        },
        **{"queryResponse": None, "batchItemResponse": [], "attachableResponse": [], "syncErrorResponse": None},
        **{"requestId": None, "time": int(now.timestamp() * 1000), "status": None, "cdcresponse": []},
    }
    return FaultAnswer(401, encode(body), JSON, {"www-authenticate": 'Bearer realm="Intuit", error="invalid_token"'})


def _xml(kind: str, code: str, message: str, detail: str, time: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        f'<IntuitResponse time="{time}" xmlns="http://schema.intuit.com/finance/v3"><Fault type="{kind}">'
        f'<Error code="{code}"><Message>{message}</Message><Detail>{detail}</Detail></Error></Fault></IntuitResponse>'
    )


def wrong_realm(time: str) -> FaultAnswer:
    """401 in XML whatever was asked: the token is good, but for another company."""
    message = "General Authentication Error"
    return FaultAnswer(
        401,
        _xml("AuthenticationFault", "100", message, "AuthenticationErrorGeneral: SRV-110-Authentication Failure", time),
        XML,
    )


def forbidden(time: str) -> FaultAnswer:
    """403/3100: wrong scope, or sandbox and production mixed up."""
    error = {"Message": "message=AuthorizationFailed; errorCode=003100; statusCode=403", "code": "3100"}
    return FaultAnswer(
        403,
        encode(
            {
                "Fault": {"Error": [error | {"Detail": "ApplicationAuthorizationFailed"}], "type": "SERVICE"},
                "time": time,
            }
        ),
    )


def throttled(shape: str, time: str, *, retry_after: bool = False) -> FaultAnswer:
    """429/3001 as JSON or XML, or the same fault under 403."""
    message, detail = (
        "message=ThrottleExceeded; errorCode=003001; statusCode=429",
        "The request limit was reached.  Try again later",
    )
    headers = {"retry-after": "60"} if retry_after else {}
    if shape in ("xml", "forbidden"):
        return FaultAnswer(
            403 if shape == "forbidden" else 429, _xml("SERVICE", "3001", message, detail, time), XML, headers
        )
    error = {"Message": message, "Detail": detail, "code": "3001", "element": ""}
    return FaultAnswer(429, encode({"Fault": {"Error": [error], "type": "SERVICE"}, "time": time}), JSON, headers)


def trouble(status: int, body: str, time: str) -> FaultAnswer:
    """A server's trouble in one of the shapes it takes."""
    if body == "html":
        return FaultAnswer(
            status,
            f"<html><head><title>{status}</title></head><body><h1>{status} Service Unavailable</h1></body></html>",
            HTML,
        )
    message, detail = (
        "An application error has occurred while processing your request",
        "System Failure Error: Could not process the request",
    )
    if body == "xml":
        return FaultAnswer(status, _xml("SystemFault", "10000", message, detail, time), XML)
    error = {"Message": message, "Detail": detail, "code": "10000"}
    return FaultAnswer(status, encode({"Fault": {"Error": [error], "type": "SystemFault"}, "time": time}))


def answer_for(rule: FaultRule, time: str, now: datetime) -> FaultAnswer:
    """The body that belongs to a rule's status."""
    if rule.status == 401:
        return wrong_realm(time) if rule.body == "xml" else unauthenticated("fault-rule", now)
    if rule.status == 403:
        return throttled("forbidden", time) if rule.body == "xml" else forbidden(time)
    if rule.status == 429:
        return throttled(rule.body, time, retry_after=rule.retry_after)
    if rule.status == 400 and rule.body == "json":
        return FaultAnswer(400, encode({"error": "invalid_grant"}))
    return trouble(rule.status, rule.body, time)


@dataclass(slots=True)
class FaultRule:
    """A fault to be made: where, how often, and what."""

    realm: str | None = None  # None: every company
    route: str = "*"  # pattern over `METHOD name`, e.g. `GET query`, `* invoice`, `POST token`
    kind: str = "answer"  # answer, delay (then go on), hang, reset, cut, lost (do the work, drop the answer)
    status: int = 500
    body: str = "json"  # json, xml, html
    latency_ms: int = 0
    rate: float = 1.0
    count: int | None = None  # answers left; None: until removed
    retry_after: bool = False
    id: int = 0


class Faults:
    """The rules in force."""

    def __init__(self, seed: int) -> None:
        self.rules: list[FaultRule] = []
        self._ids = itertools.count(1)
        self._random = random.Random(seed)  # noqa: S311 - disorder that can be repeated, no secret

    def replace(self, rules: list[FaultRule]) -> None:
        """Put these rules in force and no others."""
        self.rules = []
        for rule in rules:
            self.add(rule)

    def add(self, rule: FaultRule) -> FaultRule:
        """Put one more rule in force."""
        rule.id = next(self._ids)
        self.rules.append(rule)
        return rule

    def take(self, realm: str | None, route: str) -> FaultRule | None:
        """The first rule that fits this call, counted down; None where the call is to go well."""
        for rule in self.rules:
            if not self._fits(rule, realm, route):
                continue
            if rule.count is not None:
                rule.count -= 1
                if rule.count <= 0:
                    self.rules.remove(rule)
            return rule
        return None

    def _fits(self, rule: FaultRule, realm: str | None, route: str) -> bool:
        if rule.realm is not None and rule.realm != realm:
            return False
        pattern = rule.route if " " in rule.route or rule.route == "*" else f"* {rule.route}"
        return fnmatch(route.lower(), pattern.lower()) and self._random.random() < rule.rate

    def report(self) -> list[dict[str, Any]]:
        """The rules as the control API shows them."""
        return [asdict(rule) for rule in self.rules]

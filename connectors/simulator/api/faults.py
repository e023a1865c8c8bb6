"""Faults: the exact bodies Intuit sends when it says no.

Reads and writes: nothing.
Guarantees: each refusal has the status, shape, code and words it was recorded with.
Source: intuit.md 2, 3.6, 3.8, 7.13, 7.14, 7.16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
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
    challenge = {"www-authenticate": 'Bearer realm="Intuit", error="invalid_token"'}
    return FaultAnswer(401, _lower_case(error, "AUTHENTICATION", now), JSON, challenge)


def _lower_case(error: dict[str, Any], kind: str, now: datetime) -> str:
    body: dict[str, Any] = {
        **{"warnings": None, "intuitObject": None, "fault": {"error": [error], "type": kind}, "report": None},
        **{"queryResponse": None, "batchItemResponse": [], "attachableResponse": [], "syncErrorResponse": None},
        **{"requestId": None, "time": int(now.timestamp() * 1000), "status": None, "cdcresponse": []},
    }
    return encode(body)


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


def throttled(shape: str, time: str, now: datetime, *, retry_after: str = "") -> FaultAnswer:
    """429/3001 as JSON (`Fault` or `fault`) or XML, or the XML under 403."""
    message, detail = (
        "message=ThrottleExceeded; errorCode=003001; statusCode=429",
        "The request limit was reached.  Try again later",
    )
    headers = _retry_after(retry_after, now)
    if shape in ("xml", "forbidden"):
        status = 429 if shape == "xml" else 403
        return FaultAnswer(status, _xml("SERVICE", "3001", message, detail, time), XML, headers)
    if shape == "html":
        return FaultAnswer(429, _html(429), HTML, headers)
    if shape == "lower":
        error = {"message": message, "detail": detail, "code": "3001", "element": None}
        return FaultAnswer(429, _lower_case(error, "SERVICE", now), JSON, headers)
    error = {"Message": message, "Detail": detail, "code": "3001", "element": ""}
    return FaultAnswer(429, encode({"Fault": {"Error": [error], "type": "SERVICE"}, "time": time}), JSON, headers)


def _retry_after(form: str, now: datetime) -> dict[str, str]:
    if form == "date":
        return {"retry-after": format_datetime(now.replace(microsecond=0) + timedelta(seconds=60), usegmt=True)}
    return {"retry-after": "60"} if form else {}


def trouble(status: int, body: str, time: str, now: datetime, *, retry_after: str = "") -> FaultAnswer:
    """A server's trouble in one of the shapes it takes."""
    headers = _retry_after(retry_after, now)
    if body == "html":
        return FaultAnswer(status, _html(status), HTML, headers)
    code, message, detail = (
        "10000",
        "An application error has occurred while processing your request",
        "System Failure Error: Could not process the request",
    )
    if body == "auth120":
        code, message = "120", "Unknown Error during Authentication"
        detail = "Unknown Error during Authentication"
    if body == "xml":
        return FaultAnswer(status, _xml("SystemFault", code, message, detail, time), XML, headers)
    if body == "lower":
        error = {"message": message, "detail": detail, "code": code, "element": None}
        return FaultAnswer(status, _lower_case(error, "SYSTEM", now), JSON, headers)
    found = {"Error": [{"Message": message, "Detail": detail, "code": code}], "type": "SystemFault"}
    return FaultAnswer(status, encode({"Fault": found, "time": time}), JSON, headers)


def _html(status: int) -> str:
    phrase = HTTPStatus(status).phrase
    return f"<html><head><title>{status} {phrase}</title></head><body><h1>{status} {phrase}</h1></body></html>"


def answer_for(status: int, body: str, retry_after: str, time: str, now: datetime) -> FaultAnswer:
    """The answer of the accounting API that belongs to a status and the shape asked for."""
    if body == "throttle" or status == 429 or (status == 403 and body == "xml"):
        return throttled("forbidden" if status == 403 else body, time, now, retry_after=retry_after)
    if status == 401:
        return wrong_realm(time) if body == "xml" else unauthenticated("fault-rule", now)
    if status == 403 and body == "json":
        return forbidden(time)
    return trouble(status, body, time, now, retry_after=retry_after)


def token_answer_for(status: int, body: str, retry_after: str, time: str, now: datetime) -> FaultAnswer:
    """The answer of the token endpoint that belongs to a status and the shape asked for."""
    if status in (400, 401) and body in ("json", "described"):
        error = {"error": "invalid_grant" if status == 400 else "invalid_client"}
        described = {"error_description": "Token invalid"} if body == "described" else {}
        return FaultAnswer(status, encode(error | described))
    return answer_for(status, body, retry_after, time, now)

"""Recorded requests played against the simulator on like records, and where its answers have another shape.

Before a series is played, what its answers show is made in an empty company: the records themselves, whatever they
refer to, and the circumstances of its faults (a name already taken, a dead token). Ids, tokens and times are mapped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import httpx

from tests.recordings import Exchange, Number, differences, shape, tree
from tests.simulated import FIRST, Intuit

# In the order in which they are made: what others refer to comes first.
ENTITIES = (
    *("TaxAgency", "TaxRate", "TaxCode", "Account", "Class", "Department", "Term", "PaymentMethod", "CustomerType"),
    *("Item", "Vendor", "Employee", "Customer", "TimeActivity", "Estimate", "PurchaseOrder", "Invoice", "CreditMemo"),
    *("SalesReceipt", "RefundReceipt", "JournalEntry", "Bill", "VendorCredit", "Purchase", "Transfer"),
    *("Payment", "BillPayment", "Deposit", "Budget", "Attachable", "CompanyCurrency", "ExchangeRate", "TaxService"),
    *("CompanyInfo", "Preferences", "RecurringTransaction", "ReimburseCharge", "JournalCode", "CreditCardPayment"),
)
PROPER = {name.lower(): name for name in ENTITIES}
NEVER_MADE = {"CompanyInfo", "Preferences", "ExchangeRate"}  # every company has them
COMPUTED = {
    *("Id", "SyncToken", "MetaData", "domain", "sparse", "status", "Balance", "BalanceWithJobs", "HomeBalance"),
    *("HomeTotalAmt", "UnappliedAmt", "RemainingCredit", "LinkedTxn", "FullyQualifiedName", "Level", "IsProject"),
    *("V4IDPseudonym", "ClientEntityId", "time", "InvoiceLink", "RecurDataRef", "CurrentBalance"),
    *("CurrentBalanceWithSubAccounts", "SubAccount", "Classification", "TotalTax", "CustomExtensions"),
}
TARGETS = {
    **dict.fromkeys(("AccountRef", "DepositToAccountRef", "ARAccountRef", "APAccountRef"), "Account"),
    **dict.fromkeys(("IncomeAccountRef", "ExpenseAccountRef", "AssetAccountRef", "BankAccountRef"), "Account"),
    **dict.fromkeys(("ItemAccountRef", "DiscountAccountRef", "FromAccountRef", "ToAccountRef"), "Account"),
    **{"CustomerRef": "Customer", "VendorRef": "Vendor", "ItemRef": "Item", "EmployeeRef": "Employee"},
    **{"ClassRef": "Class", "DepartmentRef": "Department", "SalesTermRef": "Term", "TermRef": "Term"},
    **{"PaymentMethodRef": "PaymentMethod", "TxnTaxCodeRef": "TaxCode", "TaxRateRef": "TaxRate"},
}
LINKED = {"Check": "Purchase", "Expense": "Purchase", "CreditCardCredit": "Purchase", "Refund": "RefundReceipt"}
LINKED |= {"BillPaymentCheck": "BillPayment", "ReceivePayment": "Payment"}
# What the simulator has under ids of its own, for references to what it does not let anybody make.
STANDING = {"Item": "1", "Account": "35", "TaxCode": "2", "TaxRate": "3"}
NOWHERE = "99999999"
Key = tuple[str, str]  # entity, recorded id


class Difference(NamedTuple):
    """One way in which the simulator answers otherwise than Intuit did."""

    where: str  # a record type with a path, or (status), (header), (frame), (fault), (record)
    what: str
    source: str  # the file in which it was seen

    def __str__(self) -> str:
        return f"{self.where}: {self.what} [{self.source}]"


class Replay:
    """One series of exchanges, played in one company that nothing else uses."""

    def __init__(self, intuit: Intuit, realm: str, series: list[Exchange]) -> None:
        self.intuit, self.realm, self.series = intuit, realm, series
        self.ids: dict[Key, str] = {}
        self.shown = {key: fields for one in reversed(series) for key, fields in _shown(one)}
        self.made = {key for one in series for key in _made(one)}  # by the requests themselves
        self.refused = {key for one in series for key in _refused(one)}
        self.found: list[Difference] = []

    def differences(self) -> list[Difference]:
        """Everything in which the simulator's answers differ from the recorded ones."""
        self._prepare()
        for exchange in self.series:
            self._arrange(exchange)
            self._compare(exchange, self._play(exchange))
            self.intuit.sim("DELETE", "/faults")
        return sorted(set(self.found))

    def _differ(self, where: str, what: str) -> None:
        self.found.append(Difference(where, what, self.series[0].source))

    # --- like records --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        names = {
            entry["DefinitionId"]: entry.get("Name", "")
            for fields in self.shown.values()
            for entry in fields.get("CustomField") or []
            if isinstance(entry, dict) and entry.get("DefinitionId") in ("1", "2", "3")
        }
        self.intuit.sim("PUT", f"/companies/{self.realm}/custom-fields", names)
        wanted = dict(self.shown)
        for exchange in self.series:
            for key in _written(exchange):
                wanted.setdefault(key, {})
        keys = [key for key in wanted if key not in self.made and key not in self.refused]
        for key in sorted(keys, key=lambda key: _rank(key, wanted[key])):
            self._make(key, wanted[key])
        for key in keys:
            self._finish(key, wanted[key])

    def _make(self, key: Key, fields: dict[str, Any]) -> str | None:
        """Make a record like a recorded one; None where the simulator keeps no such records."""
        if key in self.ids or key[0] in NEVER_MADE:
            return self.ids.get(key)
        body = {name: value for name, value in fields.items() if name not in COMPUTED} or _stub(key)
        if key[0] == "Payment":
            self._make_targets(body)
        answer = self._write(key[0], self._mapped(_cleaned(key[0], body)))
        if answer.status_code == 400 and _codes(tree(answer.text)) == ["6140"]:  # samples use numbers twice
            answer = self._write(key[0], self._mapped(_cleaned(key[0], body | {"DocNumber": None})))
        if answer.status_code == 200:
            self.ids[key] = str(answer.json()[key[0]]["Id"])
            return self.ids[key]
        if fields and key[0] not in STANDING:
            self._differ("(record)", f"{key[0]} cannot be made: {answer.text[:300]}")
        return None

    def _make_targets(self, payment: dict[str, Any]) -> None:
        """What a payment is linked to and no answer shows: documents of its customer over the linked amount."""
        for line in payment.get("Line") or []:
            for link in line.get("LinkedTxn") or []:
                if link.get("TxnType") in ("Invoice", "CreditMemo"):
                    amount = {"Line": [_sales_line(line["Amount"])], "CustomerRef": payment["CustomerRef"]}
                    self._make((link["TxnType"], str(link["TxnId"])), amount)

    def _finish(self, key: Key, fields: dict[str, Any]) -> None:
        """What a record is besides its body: paid, inactive, deleted."""
        made = self.ids.get(key)
        if made is None:
            return
        if key[0] == "Invoice":
            self._pay(made, fields)
        if key[0] == "Payment" and any(link.get("TxnType") == "Deposit" for link in fields.get("LinkedTxn") or []):
            link = {"TxnId": made, "TxnType": "Payment"}
            self._write("Deposit", {"Line": [{"Amount": fields["TotalAmt"], "LinkedTxn": [link]}]})
        if key[0] == "Estimate" and any(link.get("TxnType") == "Invoice" for link in fields.get("LinkedTxn") or []):
            body = {"CustomerRef": fields["CustomerRef"], "Line": [_sales_line(fields["TotalAmt"])]}
            self._write("Invoice", self._mapped(body) | {"LinkedTxn": [{"TxnId": made, "TxnType": "Estimate"}]})
        if fields.get("status") == "Deleted":
            self._write(key[0], self._token(key[0], made), operation="delete")
        if fields.get("Active") is False:
            self._write(key[0], self._token(key[0], made) | {"sparse": True, "Active": False})

    def _pay(self, invoice: str, fields: dict[str, Any]) -> None:
        """Payments that stand in LinkedTxn and that no answer shows."""
        strangers = [
            link["TxnId"]
            for link in fields.get("LinkedTxn") or []
            if link.get("TxnType") == "Payment" and ("Payment", link["TxnId"]) not in self.shown
        ]
        now = self.intuit.read("Invoice", invoice, self.realm)
        paid = now["Balance"] - _decimal(now, fields.get("Balance"))
        if strangers and paid > 0:
            line = {"Amount": str(paid), "LinkedTxn": [{"TxnId": invoice, "TxnType": "Invoice"}]}
            body = {"CustomerRef": {"value": now["CustomerRef"]["value"]}, "TotalAmt": str(paid), "Line": [line]}
            self._write("Payment", body)

    def _write(self, entity: str, body: Any, **parameters: str) -> httpx.Response:
        path = f"/v3/company/{self.realm}/{entity.lower()}"
        headers = self.intuit.token(self.realm) | {"content-type": "application/json"}
        return self.intuit.http.post(path, params=parameters, content=_written_as_is(body), headers=headers)

    def _token(self, entity: str, made: str) -> dict[str, Any]:
        with suppress(AssertionError):
            return {"Id": made, "SyncToken": self.intuit.read(entity, made, self.realm)["SyncToken"]}
        return {"Id": made, "SyncToken": "0"}

    # --- mapping -------------------------------------------------------------------------------------------------

    def _mapped(self, value: Any, own: str = "", known_only: bool = False) -> Any:
        """The tree with every reference led to the like record, which is made where nothing shows it."""
        if isinstance(value, list):
            return [self._mapped(each, own, known_only) for each in value]
        if not isinstance(value, dict):
            return value
        found = {}
        for name, part in value.items():
            target = _target(name, part, own)
            if isinstance(part, dict) and target and "value" in part:
                found[name] = part | {"value": self._like(target, part, known_only)}
            else:
                found[name] = self._mapped(part, own, known_only)
        if "TxnId" in value:
            kind = str(value.get("TxnType"))
            key = (LINKED.get(kind, kind), str(value["TxnId"]))
            made = None if known_only or key[0] not in ("Invoice", "CreditMemo") else self._make(key, {})
            found["TxnId"] = self.ids.get(key, made or NOWHERE)
        return found

    def _like(self, entity: str, reference: dict[str, Any], known_only: bool) -> str:
        key = (entity, str(reference["value"]))
        if entity in STANDING:
            return STANDING[entity] if key[1].isdigit() else key[1]  # TAX and NON mean themselves
        if key in self.ids:
            return self.ids[key]
        made = None if known_only else self._make(key, _named(entity, reference) | self._addresses(key))
        return made or NOWHERE

    def _addresses(self, key: Key) -> dict[str, Any]:
        """A customer whom no answer shows: its invoices hold its addresses."""
        if key[0] != "Customer":
            return {}
        of_it = [each for each in self.shown.values() if (each.get("CustomerRef") or {}).get("value") == key[1]]
        return {
            name: each[name] for each in of_it for name in ("BillAddr", "ShipAddr") if "City" in (each.get(name) or {})
        }

    # --- playing -------------------------------------------------------------------------------------------------

    def _arrange(self, exchange: Exchange) -> None:
        """The circumstances in which Intuit refused."""
        sent = _object(exchange.sent)
        codes = _codes(exchange.answer)
        if "6240" in codes and exchange.parts[0] in PROPER:
            self._write(PROPER[exchange.parts[0]], self._mapped({k: v for k, v in sent.items() if k != "Id"}))
        if "6140" in codes:
            self._write(PROPER[exchange.parts[0]], self._mapped({k: v for k, v in sent.items() if k != "Id"}))
        if exchange.status == 429 or "3001" in codes or exchange.status >= 500:
            form = "throttle" if exchange.status == 403 else _form(exchange)
            self.intuit.sim("PUT", "/faults", [{"status": exchange.status, "body": form, "count": 1}])

    def _play(self, exchange: Exchange) -> httpx.Response:
        path = f"/v3/company/{self.realm}/{'/'.join(self._path(exchange))}"
        headers = self._credentials(exchange)
        if exchange.method == "GET":
            return self.intuit.http.get(path, params=self._parameters(exchange), headers=headers)
        content = self._body(exchange)
        headers |= {"content-type": exchange.content_type or "application/json"}
        return self.intuit.http.post(path, params=self._parameters(exchange), content=content, headers=headers)

    def _credentials(self, exchange: Exchange) -> dict[str, str]:
        codes = _codes(exchange.answer)
        if exchange.status == 401 and "100" in codes:
            return self.intuit.token(FIRST)  # a good token of another company
        if exchange.status == 403 and "3100" in codes:
            body = {"realm": self.realm, "scope": "openid"}
            return {"Authorization": f"Bearer {self.intuit.sim('POST', '/tokens', body)['access_token']}"}
        headers = self.intuit.token(self.realm)
        if exchange.status == 401:
            self.intuit.sim("POST", f"/companies/{self.realm}/expire-access")
        return headers

    def _path(self, exchange: Exchange) -> Iterator[str]:
        parts = exchange.parts
        if len(parts) == 2 and parts[0] in PROPER and parts[1].isdigit():
            entity = PROPER[parts[0]]
            yield from (parts[0], self.realm if entity == "CompanyInfo" else self._id(entity, parts[1]))
            return
        yield from parts

    def _id(self, entity: str, recorded: str) -> str:
        return self.ids.get((entity, recorded), NOWHERE)

    def _parameters(self, exchange: Exchange) -> dict[str, str]:
        found = dict(exchange.parameters)
        if "query" in found:
            found["query"] = self._statement(found["query"])
        if "changedSince" in found:  # like the ids, times are mapped: the answer was given when it was in reach
            now = datetime.fromisoformat(self.intuit.sim("GET", "/clock")["now"])
            found["changedSince"] = (now - timedelta(days=1)).isoformat(timespec="seconds")
        return found

    def _body(self, exchange: Exchange) -> bytes:
        if exchange.parts[-1:] == ("query",):
            return self._statement(exchange.sent).encode()
        try:
            body = json.loads(exchange.sent or "{}", parse_float=Number, parse_int=Number)
        except ValueError:
            return exchange.sent.encode()
        if exchange.parts[-1:] == ("batch",):
            faults = {item.get("bId"): _codes(item) for item in _batch_items(exchange.answer)}
            items = [self._batch_item(item, faults.get(item.get("bId"), [])) for item in body["BatchItemRequest"]]
            return _written_as_is({"BatchItemRequest": items})
        entity = PROPER.get(exchange.parts[0], "") if exchange.parts else ""
        return _written_as_is(self._record_sent(entity, body, _codes(exchange.answer)))

    def _batch_item(self, item: dict[str, Any], codes: list[str]) -> dict[str, Any]:
        if "Query" in item:
            return item | {"Query": self._statement(item["Query"])}
        return {
            name: self._record_sent(name, part, codes) if name in ENTITIES and isinstance(part, dict) else part
            for name, part in item.items()
        }

    def _record_sent(self, entity: str, body: Any, codes: list[str]) -> Any:
        if not isinstance(body, dict):
            return body
        mapped = self._mapped(body, entity, known_only=bool({"2500", "610"} & set(codes)))
        if "Id" in body and str(body["Id"]).isdigit():
            made = self._id(entity, str(body["Id"]))
            if "5010" in codes:  # somebody else was faster
                self._write(entity, self._token(entity, made) | {"sparse": True, "PrivateNote": "meanwhile"})
                return mapped | {"Id": made}
            mapped |= {name: value for name, value in self._token(entity, made).items() if name in body}
        return mapped

    def _statement(self, statement: str) -> str:
        entity = re.search(r"\bfrom\s+(\w+)", statement, re.IGNORECASE)
        kind = PROPER.get(entity[1].lower(), "") if entity else ""

        def ids(found: re.Match[str]) -> str:
            target = {"id": kind, "customerref": "Customer", "parentref": kind}[found[1].lower()]
            return found[1] + re.sub(r"'(\d+)'", lambda one: f"'{self._id(target, one[1])}'", found[2])

        mapped = re.sub(r"\b(Id|CustomerRef|ParentRef)(\s*(?:=|in)\s*(?:\([^)]*\)|'\d+'))", ids, statement, flags=re.I)
        return re.sub(r"(MetaData\.\w+\s*<=?\s*)'[^']*'", r"\1'2100-01-01T00:00:00Z'", mapped, flags=re.I)

    # --- comparing -----------------------------------------------------------------------------------------------

    def _compare(self, exchange: Exchange, answer: httpx.Response) -> None:
        if answer.status_code != exchange.status:
            self._differ(
                "(status)",
                f"{exchange.method} {_route(exchange)}: {exchange.status} became "
                f"{answer.status_code} {' '.join(_codes(tree(answer.text)))}",
            )
            return
        for name in ("content-type", "www-authenticate", "qbo-version", "cache-control"):
            self._compare_header(name, exchange.headers.get(name), answer.headers.get(name))
        if not answer.headers.get("intuit_tid"):
            self._differ("(header) intuit_tid", "missing")
        ours = tree(answer.text)
        for exchange_key, created in zip(_made(exchange), _made_ids(exchange, ours), strict=False):
            self.ids[exchange_key] = created
        if exchange.answer is None or ours is None:
            if (exchange.answer is None) != (ours is None):
                self._differ("(frame)", "only one of the answers can be read")
            return
        self._compare_faults(exchange.answer, ours)
        for where, what in differences(shape(_frame(exchange.answer)), shape(_frame(ours))):
            self._differ(f"(frame) {_frame_name(exchange)} {where}", what)
        self._compare_records(exchange.answer, ours)

    def _compare_header(self, name: str, theirs: str | None, ours: str | None) -> None:
        if theirs is None:
            return
        same = ours is not None
        if same and name == "content-type":  # 2020 with a charset, 2026 without
            same = _normal(theirs).partition(";")[0] == _normal(ours or "").partition(";")[0]
        if same and name == "www-authenticate":
            same = _normal(theirs) == _normal(ours or "")
        if not same:
            self._differ(f"(header) {name}", f"{theirs} became {ours}")

    def _compare_faults(self, theirs: Any, ours: Any) -> None:
        said, answered = _fault_words(theirs), _fault_words(ours)
        if said != answered:
            self._differ("(fault)", f"{said} became {answered}")

    def _compare_records(self, theirs: Any, ours: Any) -> None:
        present = dict(_records(ours))
        for key, fields in _records(theirs):
            like = present.get((key[0], self.ids.get(key, "")))
            if like is None and key[0] in NEVER_MADE:
                like = next((found for (entity, _), found in present.items() if entity == key[0]), None)
            if like is None:
                self._differ("(record)", f"{key[0]} is not in the answer")
                continue
            for where, what in differences(shape(fields), shape(like)):
                self._differ(f"{key[0]}.{where}", what)


# --- what exchanges hold ----------------------------------------------------------------------------------------


def _records(answer: Any) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every record of an answer, wherever its route puts them."""
    if isinstance(answer, list):
        for each in answer:
            yield from _records(each)
    elif isinstance(answer, dict):
        for name, part in answer.items():
            for each in part if isinstance(part, list) else [part]:
                if name in ENTITIES and isinstance(each, dict) and "Id" in each:
                    yield (name, _plain_id(each["Id"])), each
                elif name in ("QueryResponse", "CDCResponse", "BatchItemResponse", "IntuitResponse"):
                    yield from _records(each)


def _shown(exchange: Exchange) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The records that an answer shows; what a delete answers says nothing of what was there."""
    for key, fields in _records(exchange.answer):
        if exchange.method == "GET" or fields.get("status") != "Deleted":
            yield key, fields


def _plain_id(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def _frame(answer: Any) -> Any:
    """The answer with nothing in its records."""
    if isinstance(answer, list):
        return [_frame(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: [] if name in ENTITIES and isinstance(part, list) else {} if name in ENTITIES else _frame(part)
        for name, part in answer.items()
    }


def _form(exchange: Exchange) -> str:
    """How a refusal was written: the word for it in the simulator's rules."""
    if exchange.answer is None:
        return "html"
    if "120" in _codes(exchange.answer):
        return "auth120"
    if exchange.answered.lstrip().startswith("<"):
        return "xml"
    return "lower" if '"fault"' in exchange.answered else "json"


def _batch_items(answer: Any) -> list[dict[str, Any]]:
    return list(answer.get("BatchItemResponse") or []) if isinstance(answer, dict) else []


def _made(exchange: Exchange) -> Iterator[Key]:
    """What the exchange itself created."""
    if exchange.method != "POST":
        return
    if exchange.parts[-1:] == ("batch",):
        created = {i.get("bId") for i in _object(exchange.sent).get("BatchItemRequest", []) if _is_creating(i)}
        for item in _batch_items(exchange.answer):
            if item.get("bId") in created:
                yield from (key for key, _ in _records(item))
    elif exchange.parts and exchange.parts[0] in PROPER and "Id" not in _object(exchange.sent):
        yield from (key for key, _ in _records(exchange.answer))


def _made_ids(exchange: Exchange, ours: Any) -> Iterator[str]:
    wanted = {key[0] for key in _made(exchange)}
    items = _batch_items(ours)
    if not items:
        yield from (key[1] for key, _ in _records(ours) if key[0] in wanted)
        return
    created = {i.get("bId") for i in _object(exchange.sent).get("BatchItemRequest", []) if _is_creating(i)}
    for item in items:
        if item.get("bId") in created:
            yield from (key[1] for key, _ in _records(item))


def _is_creating(item: dict[str, Any]) -> bool:
    return item.get("operation") == "create"


def _written(exchange: Exchange) -> Iterator[Key]:
    """What the exchange changes, so that it must be there before."""
    sent = _object(exchange.sent)
    if exchange.parts[-1:] == ("batch",):
        for item in sent.get("BatchItemRequest", []):
            yield from ((name, str(part["Id"])) for name, part in item.items() if name in ENTITIES and "Id" in part)
    elif exchange.parts and exchange.parts[0] in PROPER and "Id" in sent:
        yield PROPER[exchange.parts[0]], str(sent["Id"])


def _refused(exchange: Exchange) -> Iterator[Key]:
    """What Intuit says is not there."""
    if exchange.parts[-1:] == ("batch",):
        gone = {item.get("bId") for item in _batch_items(exchange.answer) if "610" in _codes(item)}
        for item in _object(exchange.sent).get("BatchItemRequest", []):
            if item.get("bId") in gone:
                yield from ((n, str(part["Id"])) for n, part in item.items() if n in ENTITIES and "Id" in part)
    elif "610" in _codes(exchange.answer):
        yield from _written(exchange)
        if len(exchange.parts) == 2 and exchange.parts[0] in PROPER:
            yield PROPER[exchange.parts[0]], exchange.parts[1]


def _codes(answer: Any) -> list[str]:
    return [word for word in _fault_words(answer)[1:] if word]


def _fault_words(answer: Any) -> list[str]:
    """The type of the first fault of an answer, and its codes; in JSON of both spellings and in XML."""
    if isinstance(answer, list):
        return next((found for each in answer if (found := _fault_words(each))), [])
    if not isinstance(answer, dict):
        return []
    for name in ("Fault", "fault"):
        for fault in _many(answer.get(name)):
            errors = _many(fault.get("Error") or fault.get("error"))
            return [
                str(fault.get("type") or fault.get("@type")),
                *(str(e.get("code") or e.get("@code")) for e in errors),
            ]
    for name in ("BatchItemResponse", "IntuitResponse"):
        if name in answer and (found := _fault_words(answer[name])):
            return found
    return []


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}", parse_float=Number, parse_int=Number)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _written_as_is(value: Any) -> bytes:
    """JSON in which every number stands as it was written."""
    marked = json.dumps(_marked(value), ensure_ascii=False)
    return re.sub(r'"\u0001([^"]*)"', r"\1", marked.replace("\\u0001", "\u0001")).encode()


def _marked(value: Any) -> Any:
    if isinstance(value, Number):
        return f"\u0001{value}"
    if isinstance(value, dict):
        return {name: _marked(part) for name, part in value.items()}
    return [_marked(each) for each in value] if isinstance(value, list) else value


def _route(exchange: Exchange) -> str:
    return "/".join("{id}" if part.isdigit() else part for part in exchange.parts)


def _frame_name(exchange: Exchange) -> str:
    return exchange.parts[0] if exchange.parts and exchange.parts[0] in ("query", "cdc", "batch") else "record"


def _normal(header: str) -> str:
    return header.lower().replace(" ", "")


def _decimal(now: dict[str, Any], value: Any) -> Any:
    return type(now["Balance"])(str(value)) if value is not None else now["Balance"]


# --- like records -----------------------------------------------------------------------------------------------


def _rank(key: Key, fields: dict[str, Any]) -> tuple[int, int, str]:
    return ENTITIES.index(key[0]), int(str(fields.get("Level") or 0)), key[1]


def _target(name: str, part: Any, own: str) -> str:
    if name == "ParentRef":
        return own or "Customer"
    if name in ("EntityRef", "Entity") and isinstance(part, dict):
        return str(part.get("type") or "Customer").title()
    if name == "TaxCodeRef":
        return "TaxCode"
    return TARGETS.get(name, "")


def _named(entity: str, reference: dict[str, Any]) -> dict[str, Any]:
    name = str(reference.get("name") or f"{entity} {reference['value']}")
    return {"DisplayName": name} if entity in ("Customer", "Vendor", "Employee") else {"Name": name}


def _stub(key: Key) -> dict[str, Any]:
    """The least that a record of this type must hold."""
    form = {"Line": [_sales_line(Number("100.00"))], "CustomerRef": {"value": "1", "name": "Somebody"}}
    stubs: dict[str, dict[str, Any]] = {
        **dict.fromkeys(("Invoice", "Estimate", "CreditMemo", "SalesReceipt", "RefundReceipt"), form),
        "Payment": {"CustomerRef": {"value": "1", "name": "Somebody"}, "TotalAmt": Number("100.00")},
        **{name: {"DisplayName": f"{name} {key[1]}"} for name in ("Customer", "Vendor", "Employee")},
        **{name: {"Name": f"{name} {key[1]}"} for name in ("Item", "Account", "Class", "Department", "Term")},
    }
    return stubs.get(key[0], {})


def _sales_line(amount: Any) -> dict[str, Any]:
    detail = {"ItemRef": {"value": "1"}}
    return {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}


def _cleaned(entity: str, body: dict[str, Any]) -> dict[str, Any]:
    """A recorded record as somebody would have written it."""
    found = {name: part for name, part in body.items() if name not in COMPUTED and part is not None}
    if entity != "Payment":
        found.pop("TotalAmt", None)
    if entity == "SalesReceipt" and "LinkedTxn" in found:
        found.pop("LinkedTxn")
    if "Line" in found:
        found["Line"] = [
            _cleaned_line(line) for line in found["Line"] if line.get("DetailType") != "SubTotalLineDetail"
        ]
    if "Active" in found:
        found.pop("Active")
        found |= {key: str(found[key]).removesuffix(" (deleted)") for key in ("DisplayName", "Name") if key in found}
    return found


def _cleaned_line(line: dict[str, Any]) -> dict[str, Any]:
    dropped = ("Id", "CustomExtensions", "LineEx")
    return {name: part for name, part in line.items() if name not in dropped}

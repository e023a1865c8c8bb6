"""Records of QuickBooks: every number exact, and whatever stands in one, nothing but a reason is raised."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import money
from schemas.errors import UnprocessableError
from schemas.quickbooks import CUSTOMER, INVOICE, PAYMENT, RECORD_TYPES, Payment, SalesDocument, parse_record

RECORDS: dict[str, dict[str, Any]] = {
    CUSTOMER: {
        "Id": "12",
        "ParentRef": {"value": "3"},
        "Active": True,
        "CurrencyRef": {"value": "USD"},
        "DisplayName": "Bay House",
        "FullyQualifiedName": "Bayside:Bay House",
    },
    INVOICE: {
        "Id": "17",
        "CustomerRef": {"value": "12"},
        "DocNumber": "1001",
        "TxnDate": "2026-03-20",
        "DueDate": "2026-04-20",
        "TotalAmt": 362,
        "TxnTaxDetail": {"TotalTax": 26},
        "Deposit": 0,
        "CurrencyRef": {"value": "EUR"},
        "ExchangeRate": 2,
        "ProjectRef": {"value": "4"},
        "CustomField": [{"DefinitionId": "1", "Name": "Reference Number", "StringValue": "P-100"}],
        "Line": [{"Amount": 336}],
    },
    PAYMENT: {
        "Id": "21",
        "CustomerRef": {"value": "12"},
        "PaymentRefNum": "4711",
        "TxnDate": "2026-03-20",
        "TotalAmt": 100,
        "UnappliedAmt": 0,
        "CurrencyRef": {"value": "EUR"},
        "ExchangeRate": 2,
        "ProjectRef": {"value": "4"},
        "Line": [{"Amount": 100, "LinkedTxn": [{"TxnId": "17", "TxnType": "Invoice"}]}],
    },
}
MARK = "the value under test"
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,20})?", fullmatch=True)
POISON = [
    *("null", "true", "NaN", "-Infinity", '"\\u0000"', '"\\ud800"'),
    *("1e99999999999999999999", "1e1000000", '"1e1000000"', '"-1e-1000000"'),
]
VALUES = st.recursive(
    st.sampled_from(POISON)
    | NUMBERS
    | NUMBERS.map(json.dumps)
    | TEXTS.map(json.dumps)
    | TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda held: f"[{','.join(held)}]")
        | st.dictionaries(st.sampled_from(["value", "Amount", "LinkedTxn", "\\ud800"]), inner, max_size=3).map(
            lambda held: "{" + ",".join(f'"{key}":{value}' for key, value in held.items()) + "}"
        )
    ),
    max_leaves=6,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where any value of this tree stands."""
    if path:
        yield path
    held = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in held:
        yield from paths(child, (*path, key))


def with_value(record_type: str, path: tuple[Any, ...], text: str) -> bytes:
    """The record of this type with this JSON text in one place."""
    tree = json.loads(json.dumps(RECORDS[record_type]))
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = MARK
    return json.dumps(tree).replace(f'"{MARK}"', text).encode("utf-8", "surrogatepass")


def leaves(value: Any) -> Iterator[Any]:
    """Every text and number of a parsed record."""
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def assert_storable(record: Any) -> None:
    """Postgres and Avro hold each of its texts and numbers."""
    for leaf in leaves(record):
        if isinstance(leaf, str):
            assert "\0" not in leaf
            leaf.encode("utf-8")
        if isinstance(leaf, Decimal):
            assert leaf.is_finite() and leaf.adjusted() < money.WHOLE_DIGITS_MAX + 6


def assert_storable_reason(error: UnprocessableError) -> None:
    """The park keeps it, so it obeys the same limits."""
    reason = str(error)
    assert 10 < len(reason) < 400 and "\0" not in reason
    reason.encode("utf-8")


PLACES = [(record_type, path) for record_type, record in RECORDS.items() for path in paths(record)]


@settings(max_examples=500)
@given(st.sampled_from(PLACES), st.sampled_from(POISON) | VALUES)
def test_any_value_in_any_field_is_kept_whole_or_refused_with_a_reason(
    place: tuple[str, tuple[Any, ...]], text: str
) -> None:
    record_type, path = place
    try:
        assert_storable(parse_record(record_type, with_value(record_type, path, text), "USD"))
    except UnprocessableError as error:
        assert_storable_reason(error)


@given(
    st.sampled_from(RECORD_TYPES), st.binary(max_size=200) | VALUES.map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_raise_nothing_but_a_reason(record_type: str, raw: bytes) -> None:
    try:
        assert_storable(parse_record(record_type, raw, "USD"))
    except UnprocessableError as error:
        assert_storable_reason(error)


@pytest.mark.parametrize("record_type", RECORDS)
def test_record_as_written_is_understood(record_type: str) -> None:
    assert_storable(parse_record(record_type, json.dumps(RECORDS[record_type]).encode(), "USD"))


@pytest.mark.parametrize("number", ["1e99999999999999999999", "1e1000000", "-1e-1000000", "1e17", "0.0000001", "1e400"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("place", [(INVOICE, "TotalAmt"), (PAYMENT, "UnappliedAmt"), (INVOICE, "Deposit")])
def test_amount_that_cannot_be_kept_is_refused(number: str, quoted: bool, place: tuple[str, str]) -> None:
    record_type, name = place
    with pytest.raises(UnprocessableError, match=record_type):
        parse_record(record_type, with_value(record_type, (name,), f'"{number}"' if quoted else number), "USD")


@pytest.mark.parametrize("text", [b'"\\u0000"', b'"\\ud800"', b'"\xed\xa0\x80"', b'"\x00"', b'"\xff"'])
def test_text_that_cannot_be_stored_is_refused(text: bytes) -> None:
    raw = with_value(INVOICE, ("DocNumber",), '"@"').replace(b'"@"', text)
    with pytest.raises(UnprocessableError):
        parse_record(INVOICE, raw, "USD")


def test_nesting_without_end_is_refused() -> None:
    for text in ("[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"value":' * 100_000):
        with pytest.raises(UnprocessableError):
            parse_record(CUSTOMER, with_value(CUSTOMER, ("DisplayName",), text), "USD")


def test_reference_too_long_for_an_index_is_refused() -> None:
    with pytest.raises(UnprocessableError, match="longer than 600 characters"):
        parse_record(INVOICE, with_value(INVOICE, ("DocNumber",), json.dumps("x" * 601)), "USD")


def test_escaped_text_is_read_as_the_same_text_and_the_same_numbers() -> None:
    plain = with_value(INVOICE, ("DocNumber",), '"Nº 5"').replace(b"362", b"362.10")
    escaped = with_value(INVOICE, ("DocNumber",), '"N\\u00ba 5"').replace(b"362", b"362.10")
    assert parse_record(INVOICE, plain, "USD") == parse_record(INVOICE, escaped, "USD")


def test_digits_are_never_rounded_away() -> None:
    """Long enough that Decimal's own 28 digits would round it to something that fits."""
    raw = with_value(INVOICE, ("TotalAmt",), "1234567890.00000000000000000000000001")
    with pytest.raises(UnprocessableError, match="digits"):
        parse_record(INVOICE, raw, "USD")


def test_zeros_beyond_the_scale_are_no_digits() -> None:
    record = parse_record(INVOICE, with_value(INVOICE, ("TotalAmt",), "12.500000000000"), "USD")
    assert isinstance(record, SalesDocument)
    assert record.total.amount == Decimal("12.5")


def test_exchange_rate_of_twelve_places_is_kept_exactly() -> None:
    for rate in ("0.0089135", "0.000000000001", "1234.123456789012"):
        record = parse_record(PAYMENT, with_value(PAYMENT, ("ExchangeRate",), rate), "USD")
        assert isinstance(record, Payment)
        assert record.exchange_rate == Decimal(rate)


def test_exchange_rate_of_thirteen_places_is_refused_with_the_limit() -> None:
    raw = with_value(PAYMENT, ("ExchangeRate",), "0.0000000000001")
    with pytest.raises(
        UnprocessableError, match="an exchange rate may have: at most 16 digits before the point and 12 after it"
    ):
        parse_record(PAYMENT, raw, "USD")


def test_what_comes_in_fits_what_is_stored() -> None:
    assert money.WHOLE_DIGITS_MAX + money.RATE_SCALE <= money.DIGITS_MAX

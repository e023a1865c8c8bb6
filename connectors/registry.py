"""Which schema id means which contract: by our own files, or by a Confluent-compatible registry where one is named.

Reads: the contracts in `schemas/avro`, the registry, control.schema_ids.
Writes: contracts that the registry does not have yet, in version order, each under its full name (RecordNameStrategy);
control.schema_ids, the ids as they were first used.
Guarantees: the registry's ids are taken as they are; an id never comes to mean another contract, nor a contract another
id, within one installation: two authorities (files and a registry, two registries, one that forgot) never mix.
Source: Confluent Schema Registry API v1; docs/decisions/0007 (file-backed schema ids).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg

from connectors.config import Settings
from schemas.codec import Contract, SchemaIds, file_ids, released
from schemas.errors import TransientError

ANSWER_S_MAX = 10.0
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_CONFLICT = 409
_REGISTERING_LOCK = 4_201_902  # any constant; the same in every process


class RegistryError(Exception):
    """Contracts and ids cannot be used as configured. Its text says what was found and what to do."""


def schema_ids(settings: Settings) -> SchemaIds:
    """The ids that this installation writes and reads; safe twice and from several processes at once.

    Raises RegistryError when the ids are other ones than those already in use or the registry refuses a contract,
    TransientError when the registry or the database is away.
    """
    with _connected(settings.database_url.get_secret_value()) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_REGISTERING_LOCK,))
        contracts = contracts_by_id(settings)
        _agree(connection, contracts)
    return SchemaIds(contracts) if settings.schema_registry_url else file_ids()


def contracts_by_id(settings: Settings) -> dict[int, Contract]:
    """Every released contract by its id, of the files or, where one is named, of the registry; registers what is new.

    Asks no database, so it does not know which ids are in use already. Raises RegistryError or TransientError.
    """
    if not settings.schema_registry_url:
        return dict(released())
    base = httpx.URL(settings.schema_registry_url.rstrip("/") + "/")
    with httpx.Client(base_url=base, timeout=ANSWER_S_MAX, headers={"accept": _MEDIA_TYPE}) as client:
        try:
            return _registered(client)
        except httpx.TransportError as error:
            raise TransientError(f"the schema registry {base.host} does not answer: {error}") from error


def agree(database_url: str, contracts: Mapping[int, Contract]) -> None:
    """Note these ids as the ones in use; raises RegistryError when others are, TransientError without a database."""
    with _connected(database_url) as connection:
        _agree(connection, contracts)


@contextmanager
def _connected(database_url: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise TransientError(f"the database does not answer: {error}") from error


def _agree(connection: psycopg.Connection, contracts: Mapping[int, Contract]) -> None:
    ours = {schema_id: (each.subject, each.version) for schema_id, each in contracts.items()}
    rows = [(schema_id, *contract) for schema_id, contract in sorted(ours.items())]
    connection.cursor().executemany(
        "INSERT INTO control.schema_ids (schema_id, subject, version) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", rows
    )
    found = connection.execute("SELECT schema_id, subject, version FROM control.schema_ids").fetchall()
    _refuse_others(ours, {schema_id: (subject, version) for schema_id, subject, version in found})


def _refuse_others(ours: Mapping[int, tuple[str, int]], in_use: Mapping[int, tuple[str, int]]) -> None:
    ids = {contract: schema_id for schema_id, contract in ours.items()}
    for schema_id, contract in sorted(in_use.items()):
        same_id, same_contract = ours.get(schema_id, contract), ids.get(contract, schema_id)
        if (same_id, same_contract) != (contract, schema_id):
            subject, version = contract
            raise RegistryError(
                f"Schema id {schema_id} stands for {subject} v{version} in the records that are kept here, but the "
                "configured source of ids says otherwise. Ids of our own files and of a registry, or of two "
                "registries, must not mix: set SCHEMA_REGISTRY_URL as it was when the topics were first written."
            )


# --- the registry ------------------------------------------------------------------------------------------------


def _registered(client: httpx.Client) -> dict[int, Contract]:
    known = set(_answer(client, "GET", "subjects"))
    found: dict[int, Contract] = {}
    for contract in sorted(released().values(), key=lambda each: (each.subject, each.version)):
        if contract.subject not in known:
            known.add(contract.subject)
            _guard(client, contract.subject)
        schema_id = _register(client, contract)
        if schema_id in found:
            raise RegistryError(
                f"The schema registry {client.base_url.host} gives {found[schema_id].subject} and {contract.subject} "
                f"the same id {schema_id}: it is not a Confluent-compatible registry."
            )
        found[schema_id] = contract._replace(schema_id=schema_id)
    return found


def _guard(client: httpx.Client, subject: str) -> None:
    """Tell the registry to refuse, from whomever, a version that not all others can read.

    A conflict here means that another process said the same a moment ago.
    """
    _answer(client, "PUT", f"config/{subject}", {"compatibility": "FULL_TRANSITIVE"}, harmless=(_CONFLICT,))


def _register(client: httpx.Client, contract: Contract) -> int:
    """The id of this contract; the registry answers the same one for what it already has."""
    text = json.dumps(contract.schema, sort_keys=True, separators=(",", ":"))
    answer = _answer(client, "POST", f"subjects/{contract.subject}/versions", {"schema": text, "schemaType": "AVRO"})
    schema_id = answer.get("id")
    if not isinstance(schema_id, int) or not 0 <= schema_id < 2**31:
        raise RegistryError(
            f"The schema registry {client.base_url.host} gave {contract.subject} no usable id: {answer}"
        )
    return schema_id


def _answer(
    client: httpx.Client,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    harmless: Collection[int] = (),
) -> Any:
    answer = client.request(method, path, json=body, headers={"content-type": _MEDIA_TYPE} if body else None)
    host = client.base_url.host
    if answer.status_code >= 500 or answer.status_code == 429:
        raise TransientError(f"the schema registry {host} answered {answer.status_code} to {method} {path}")
    if answer.status_code in harmless:
        return None
    if answer.status_code == _CONFLICT:
        raise RegistryError(
            f"The schema registry {host} refuses {path.split('/')[1]}: it holds a version that does not fit ours. "
            f"Somebody else registered under this name, or it is another installation's registry. "
            f"It says: {_reason(answer)}"
        )
    if answer.is_error or not _is_json(answer):
        raise RegistryError(
            f"The schema registry {host} answered {answer.status_code} to {method} {path}: {_reason(answer)}. "
            "SCHEMA_REGISTRY_URL must be the address of a Confluent-compatible API."
        )
    return answer.json()


def _is_json(answer: httpx.Response) -> bool:
    return "json" in answer.headers.get("content-type", "")


def _reason(answer: httpx.Response) -> str:
    if not _is_json(answer):
        return answer.text[:200].strip() or "no reason given"
    said = answer.json()
    return str(said.get("message", said) if isinstance(said, dict) else said)[:500]

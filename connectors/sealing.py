"""Seal what is personal or secret with a key per company; forgetting a company is destroying its key.

Reads and writes: control.company_keys, where each company's data key stands wrapped by a master key, which is outside
the database. Guarantees: what is sealed for one company or purpose does not open as another's; a changed byte is
noticed; one company has one data key, also when several processes meet it at once; a destroyed key is out of use
everywhere within `FRESH_S`.
Source: design, personal data (envelope encryption); ASVS 5.0, 11.3.2-11.3.4; NIST SP 800-38D (96-bit random nonces).
"""

import hmac
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg_pool import AsyncConnectionPool

from connectors.config import SettingsError
from connectors.postgres import Connection, queries, transaction
from schemas.errors import ForgottenError, UnprocessableError

FRESH_S = 60.0
FORMAT = b"\x01"  # AES-256-GCM: format byte, nonce, ciphertext with its tag
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_SQL = queries("control.sql")


@dataclass(frozen=True, slots=True)
class _Keys:
    """What one company's data key is used for."""

    cipher: AESGCM
    mac: bytes


class Sealer:
    """Seals and opens; `load` the companies of a batch first, then no call waits for the database."""

    def __init__(self, connections: AsyncConnectionPool[Connection], master_keys: Mapping[str, bytes]) -> None:
        self._connections = connections
        self._masters = {key_id: AESGCM(key) for key_id, key in master_keys.items()}
        self._current = next(iter(master_keys))
        self._keys: dict[str, _Keys | None] = {}  # None: destroyed
        self._loaded_at: dict[str, float] = {}

    async def load(self, company_ids: Collection[str]) -> None:
        """Have these companies' keys at hand; a company without one gets it. Raises TransientError. Safe twice."""
        oldest = time.monotonic() - FRESH_S
        due = sorted({company for company in company_ids if self._loaded_at.get(company, oldest) <= oldest})
        if not due:
            return
        async with transaction(self._connections) as connection:
            found = await self._rows(connection, due)
            missing = [company for company in due if company not in found]
            if missing:
                await self._create(connection, missing)
                found |= await self._rows(connection, missing)
        for company, (master_id, wrapped) in found.items():
            self._remember(company, None if wrapped is None else self._unwrap(company, master_id, wrapped))

    def seal(self, company_id: str, purpose: str, plain: bytes) -> bytes:
        """Raises UnprocessableError when the company's key was destroyed: nothing may be kept of it any more."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._of(company_id).cipher
        return FORMAT + nonce + cipher.encrypt(nonce, plain, _bound_to(company_id, purpose))

    def open(self, company_id: str, purpose: str, sealed: bytes) -> bytes:
        """Raises UnprocessableError when the key was destroyed or these bytes are not what was sealed."""
        cipher = self._of(company_id).cipher
        if sealed[:1] != FORMAT or len(sealed) < 1 + NONCE_BYTES + TAG_BYTES:
            raise UnprocessableError(f"what is sealed for company {company_id} has an unknown format")
        nonce, text = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, text, _bound_to(company_id, purpose))
        except InvalidTag as error:
            message = f"what is sealed for company {company_id} ({purpose}) was changed or belongs elsewhere"
            raise UnprocessableError(message) from error

    def mac(self, company_id: str, plain: bytes) -> bytes:
        """HMAC-SHA256: tells whether two texts of one company are equal, and nothing else about them."""
        return hmac.digest(self._of(company_id).mac, plain, "sha256")

    async def destroy(self, company_id: str) -> None:
        """Forget the company: nothing sealed for it can be opened again, here or elsewhere. Safe twice."""
        async with transaction(self._connections) as connection:
            await connection.execute(_SQL["key_destroy"], {"company_id": company_id, "master_key_id": self._current})
        self._remember(company_id, None)

    async def rewrap(self, *, at_once: int = 500) -> int:
        """Wrap every company's key with the current master key; return how many were not. Resumable, safe twice."""
        rewrapped = 0
        while moved := await self._rewrap_some(at_once):
            rewrapped += moved
        return rewrapped

    async def _rewrap_some(self, at_once: int) -> int:
        async with transaction(self._connections) as connection:
            due = await connection.execute(_SQL["keys_to_rewrap"], {"current": self._current, "at_once": at_once})
            rows = [
                (self._current, self._wrap(company, self._unwrap(company, master_id, wrapped)), company)
                for company, master_id, wrapped in await due.fetchall()
            ]
            await connection.cursor().executemany(_SQL["key_rewrap"], rows)
        return len(rows)

    async def _rows(self, connection: Connection, companies: list[str]) -> dict[str, tuple[str, bytes | None]]:
        cursor = await connection.execute(_SQL["keys_of"], {"company_ids": companies})
        return {company: (master_id, wrapped) for company, master_id, wrapped in await cursor.fetchall()}

    async def _create(self, connection: Connection, companies: list[str]) -> None:
        """Several processes may do this at once: the first key stays, whoever made it."""
        rows = [(company, self._current, self._wrap(company, os.urandom(KEY_BYTES))) for company in companies]
        await connection.cursor().executemany(_SQL["key_create"], rows)

    def _remember(self, company_id: str, data_key: bytes | None) -> None:
        self._keys[company_id] = None if data_key is None else _Keys(AESGCM(data_key), _mac_key(data_key))
        self._loaded_at[company_id] = time.monotonic()

    def _of(self, company_id: str) -> _Keys:
        keys = self._keys[company_id]  # a KeyError is a missing `load`: a bug
        if keys is None:
            raise ForgottenError(f"company {company_id} was forgotten: its key is destroyed")
        return keys

    def _wrap(self, company_id: str, data_key: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        bound = _bound_to(company_id, f"key|{self._current}")
        return FORMAT + nonce + self._masters[self._current].encrypt(nonce, data_key, bound)

    def _unwrap(self, company_id: str, master_id: str, wrapped: bytes) -> bytes:
        if master_id not in self._masters:
            raise SettingsError(f"MASTER_KEYS lacks the key {master_id!r}, which wraps the key of company {company_id}")
        nonce, text = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        try:
            return self._masters[master_id].decrypt(nonce, text, _bound_to(company_id, f"key|{master_id}"))
        except InvalidTag as error:
            message = f"MASTER_KEYS: the key {master_id!r} is not the one that wrapped the key of company {company_id}"
            raise SettingsError(message) from error


def _bound_to(company_id: str, purpose: str) -> bytes:
    return FORMAT + f"|{company_id}|{purpose}".encode()


def _mac_key(data_key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"intoaec mac").derive(data_key)

"""The pretend people of the simulator: who signs in at Intuit, and who signs in at IntoAEC.

Reads and writes: nothing. The passwords are no secrets: the pages show them.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

PASSWORD = "simulator"  # noqa: S105 - everybody's, and shown on the page


@dataclass(frozen=True, slots=True)
class QuickBooksUser:
    """Somebody with a pretend Intuit account."""

    email: str
    name: str
    administers: str  # all, first, none: of the simulated companies


QUICKBOOKS_USERS = (
    QuickBooksUser("dana@builders.example", "Dana Whitfield", "all"),
    QuickBooksUser("ruben@bayside.example", "Ruben Ortega", "first"),
    QuickBooksUser("mia@builders.example", "Mia Tanaka", "none"),
)


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of an organisation that uses IntoAEC."""

    sub: str
    email: str
    name: str
    organisation_id: str
    roles: tuple[str, ...]


MEMBERS = (
    Member("user-0001", "olivia@bayside.example", "Olivia Grant", "bayside-builders", ("owner",)),
    Member("user-0002", "arthur@bayside.example", "Arthur Neal", "bayside-builders", ("accountant",)),
    Member("user-0003", "priya@bayside.example", "Priya Raman", "bayside-builders", ("project_manager",)),
    Member("user-0004", "victor@bayside.example", "Victor Hale", "bayside-builders", ("viewer",)),
    Member("user-0005", "nadia@northgate.example", "Nadia Kovac", "northgate-construction", ("owner", "accountant")),
    Member("user-0006", "tom@northgate.example", "Tom Becker", "northgate-construction", ("viewer",)),
)


def quickbooks_user(email: str | None, password: str | None = None) -> QuickBooksUser | None:
    """The Intuit account with this address; None where there is none, or where a given password is wrong."""
    found = next((one for one in QUICKBOOKS_USERS if one.email == (email or "").strip().lower()), None)
    return found if password is None or is_right(password) else None


def member(email: str | None, password: str | None = None) -> Member | None:
    """The member with this address; None where there is none, or where a given password is wrong."""
    found = next((one for one in MEMBERS if one.email == (email or "").strip().lower()), None)
    return found if password is None or is_right(password) else None


def is_right(password: str) -> bool:
    """Whether this is the one password."""
    return hmac.compare_digest(password.encode(), PASSWORD.encode())

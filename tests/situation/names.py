"""Which record an author's name stands for; QuickBooks' own words `Invoice 1045` stand for themselves."""

from collections.abc import Iterable, Iterator

from streams.books import Key
from tests.situation.reading import DOCUMENTS, NotUnderstood, Situation, Step

FIRST_ID = 1001
CUSTOMER = "Customer"
_KINDS = {**DOCUMENTS, "customer": CUSTOMER, "journal": "JournalEntry"}


class Names:
    """The names of one situation. Ids that the author gave are theirs; the others are counted."""

    def __init__(self, situation: Situation) -> None:
        """Raises NotUnderstood for two records of one name or of one id."""
        self._keys: dict[str, Key] = {}
        given = list(_given(situation))
        self._taken = {(kind, record_id) for kind, _, record_id in given if record_id is not None}
        customers = iter(range(1, 1_000_000_000))
        others = iter(range(FIRST_ID, 1_000_000_000))
        for kind, name, record_id in given:
            if name not in self._keys:
                numbers = customers if name in situation.customers else others
                self._keys[name] = kind, record_id or self._free(kind, numbers)
            elif self._keys[name][0] != kind:
                raise NotUnderstood(f"{name} is a name of two records: {self._keys[name][0]} and {kind}")
        self._refuse_one_id_of_two()

    def _free(self, kind: str, numbers: Iterator[int]) -> str:
        return next(str(number) for number in numbers if (kind, str(number)) not in self._taken)

    def _refuse_one_id_of_two(self) -> None:
        seen: dict[Key, str] = {}
        for name, key in self._keys.items():
            if key in seen:
                raise NotUnderstood(f"{seen[key]} and {name} have one id: {key[0]} {key[1]}")
            seen[key] = name

    def key(self, name: str) -> Key:
        """Type and id. Raises NotUnderstood for a name that nothing was given."""
        if name in self._keys:
            return self._keys[name]
        if (key := in_words_of_quickbooks(name)) is not None:
            return key
        known = ", ".join(self._keys)
        raise NotUnderstood(f"{name!r} names no record; known are {known}. What no line gives is named as `Invoice 77`")

    def customer(self, name: str) -> str:
        """The id of a customer. Raises NotUnderstood for a name of anything else."""
        return self.of_kind(name, CUSTOMER)

    def of_kind(self, name: str, kind: str) -> str:
        """The id of a record of this type. Raises NotUnderstood for a name of anything else."""
        found, record_id = self.key(name)
        if found != kind:
            raise NotUnderstood(f"{name} is a {found}; a {kind} is expected here")
        return record_id

    def name(self, key: Key) -> str:
        """The author's name of a record."""
        return next((name for name, each in self._keys.items() if each == key), f"{key[0]} {key[1]}")


def in_words_of_quickbooks(name: str) -> Key | None:
    """`Invoice 1045`."""
    record_type, _, record_id = name.rpartition(" ")
    right = record_type.isalpha() and record_type[:1].isupper() and record_id.isascii() and record_id.isdigit()
    return (record_type, record_id) if right else None


def _given(situation: Situation) -> Iterator[tuple[str, str, str | None]]:
    """Type, name and the id, where the author says one."""
    for name, fields in situation.customers.items():
        yield CUSTOMER, name, fields.get("id") or _own_id(name, CUSTOMER)
    steps: Iterable[Step] = (step for step in situation.history if step.command in _KINDS)
    ids = {(step.command, step.subject): step.fields["id"] for step in situation.history if step.fields.get("id")}
    for step in steps:
        kind = _KINDS[step.command]
        yield kind, step.subject, ids.get((step.command, step.subject)) or _own_id(step.subject, kind)


def _own_id(name: str, kind: str) -> str | None:
    key = in_words_of_quickbooks(name)
    return key[1] if key is not None and key[0] == kind else None

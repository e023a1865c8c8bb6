"""Where the consumer groups stand, whether they may start, and setting them right with the groups stopped.

Reads: committed offsets, ledger.positions. Writes: committed offsets, only by `align`.
Guarantees: nothing is moved that the plan did not say; no group that runs is moved; no record is skipped that the
database has not seen. A group is moved back at most, and reading again changes nothing.
Source: design section 2, "Offsets are guarded".
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectors.cluster import GroupPosition, Partition, check_offsets, commit_offsets, group_positions
from connectors.postgres import transaction
from streams.topology import System, groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One committed offset that must be set."""

    group: str
    partition: Partition
    committed: int | None
    wanted: int
    why: str


async def check(system: System) -> list[str]:
    """Why groups must not start, in sentences for a person; empty when all may."""
    refusals: list[str] = []
    for group, topics in groups(system.settings).items():
        stored = await _stored(system) if _is_ledger(system, topics) else None
        refusals += await check_offsets(system.settings.kafka_bootstrap, group, topics, stored)
    return refusals


async def plan(system: System) -> list[Move]:
    """What `align` would set: the ledger to its positions in Postgres, others without an offset to the beginning."""
    moves: list[Move] = []
    for group, topics in groups(system.settings).items():
        stored = await _stored(system) if _is_ledger(system, topics) else None
        positions = await group_positions(system.settings.kafka_bootstrap, group, topics)
        moves += [move for each in sorted(positions) if (move := _move(group, each, positions[each], stored))]
    return moves


async def align(system: System, moves: Sequence[Move]) -> None:
    """Set these offsets. Raises GroupRuns for a group with running members: stop its workers first."""
    wanted: defaultdict[str, dict[Partition, int]] = defaultdict(dict)
    for move in moves:
        wanted[move.group][move.partition] = move.wanted
    for group, offsets in wanted.items():
        await commit_offsets(system.settings.kafka_bootstrap, group, offsets)


def _move(
    group: str, partition: Partition, position: GroupPosition, stored: Mapping[Partition, int] | None
) -> Move | None:
    wanted, why = position.beginning, "it has none: everything is read again, which changes nothing"
    if stored is not None:
        wanted = max(stored.get(partition, 0), position.beginning)
        why = "the position that the ledger stored with its bookings"
    if position.committed is None and position.end == position.beginning:
        return None
    if position.committed == wanted or (stored is None and position.committed is not None):
        return None
    if stored is not None and position.committed is not None and position.committed < wanted:
        return None  # reading a little again is what happens after every restart
    return Move(group=group, partition=partition, committed=position.committed, wanted=wanted, why=why)


def _is_ledger(system: System, topics: Sequence[str]) -> bool:
    return list(topics) == [system.topics.changes.name]


async def _stored(system: System) -> dict[Partition, int]:
    query = 'SELECT "partition", next_offset FROM ledger.positions WHERE generation = %s'
    async with transaction(system.connections) as connection:
        rows = await (await connection.execute(query, (system.settings.topic_generation,))).fetchall()
    return {(system.topics.changes.name, number): offset for number, offset in rows}

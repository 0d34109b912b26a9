"""What somebody's death or a full disk left of the firewall, found and mended.

Found first and mended then, so that a dry run tells just what the other one does. What is not ours
is told and not touched: a panic is never lifted, and a firewalld that does not run never started.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.healing.known_damage import Damage, HealResult
from k3sfw_engine.healing.leftover_drop_table import ask_firewalld, left_over_drop_table
from k3sfw_engine.healing.repair_files import damaged_files, failed_start
from k3sfw_engine.model.difference import Differences, joined


def heal(
    bus: Bus | None,
    *,
    test: bool = False,
    files: bool = False,
) -> HealResult:
    """Find what is wrong, and mend what is ours.

    bus
        firewalld's; ``None`` where the bus cannot be reached.
    test
        Only tell; touch nothing.
    files
        Put files of ours that cannot be read back under a firewalld that runs, too. An apply has no
        need of it, as it writes them anew.

    Raises ``EngineError`` if something of ours cannot be mended.
    """
    answer = ask_firewalld(bus)
    failed = [*failed_start(bus, answer)]
    reloads = any(each.reload for each in failed)
    found = [*failed, *left_over_drop_table(bus, answer, reloads=reloads)]
    if files and not reloads:
        found += damaged_files()
    refusal: EngineError | None = answer if isinstance(answer, FirewalldUnavailable) else None
    if failed and not reloads:
        refusal = EngineError(each.sentence for each in failed)
    return replace(repair(found, test=test), refusal=refusal)


def repair(found: Iterable[Damage], *, test: bool) -> HealResult:
    """Mend these in their order, or tell that they would be."""
    found = tuple(found)
    differences: Differences = ()
    mended: list[str] = []
    notices: list[str] = []
    for each in found:
        if each.mend is None:
            notices.append(each.sentence)
            continue
        if not test:
            notices += each.mend()
        differences = joined(differences, each.differences)
        mended.append(f"{'would heal' if test else 'healed'} {each.sentence}, by {each.remedy}")
    reloads = tuple(each.reload for each in found if each.reload)
    return HealResult(differences, tuple(mended), tuple(notices), reloads)


def heal_or_refuse(*, test: bool) -> HealResult:
    """Mend what is ours of what somebody's death left. The caller holds the lock.

    Raises ``EngineError`` if firewalld cannot be used all the same.
    """
    with Bus() as bus:
        health = heal(bus, test=test)
    if health.refusal:
        raise EngineError([*health.refusal.sentences, *health.mended]) from health.refusal
    return health

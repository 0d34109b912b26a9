"""Finds what is damaged, and heals what is ours, in one order.

Everything is found first and healed then, so that a dry run reports exactly what a real one does.
Damage of others is reported and left alone: panic mode is never lifted, and a firewalld that does
not run is never started.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.healing import messages
from k3sfw_engine.healing.known_damage import Damage, HealResult
from k3sfw_engine.healing.leftover_drop_table import ask_firewalld, leftover_drop_table
from k3sfw_engine.healing.repair_files import damaged_files, failed_start
from k3sfw_engine.model.difference import Differences, joined


def heal(
    bus: Bus | None,
    *,
    test: bool = False,
    files: bool = False,
) -> HealResult:
    """Find all damage, and heal what is ours.

    bus
        firewalld's; ``None`` if the bus cannot be reached.
    test
        Touch nothing.
    files
        Also put back our files that cannot be read while firewalld runs. An apply does not need
        it, because it writes them anew.

    Raises ``EngineError`` if something of ours cannot be healed.
    """
    answer = ask_firewalld(bus)
    failed = [*failed_start(bus, answer)]
    reloads = any(each.reload for each in failed)
    dropping = leftover_drop_table(bus, reloads=reloads)
    found = failed if dropping is None else [*failed, dropping]
    if files and not reloads:
        found = [*found, *damaged_files()]
    refusal: EngineError | None = answer if isinstance(answer, FirewalldUnavailable) else None
    if failed and not reloads:
        refusal = EngineError(each.problem for each in failed)
    return replace(repair(found, test=test), refusal=refusal)


def repair(found: Iterable[Damage], *, test: bool) -> HealResult:
    """Heal each damage in order, or report what would be healed."""
    found = tuple(found)
    differences: Differences = ()
    healed: list[str] = []
    notices: list[str] = []
    for each in found:
        if each.heal is None:
            notices.append(str(each.problem))
            continue
        if not test:
            notices += each.heal()
        differences = joined(differences, each.differences)
        healed.append(messages.healed(each.problem, each.remedy, test=test))
    reloads = tuple(each.reload for each in found if each.reload)
    return HealResult(differences, tuple(healed), tuple(notices), reloads)


def heal_or_refuse(*, test: bool) -> HealResult:
    """Heal what is ours before a change. The caller holds the lock.

    Raises ``EngineError`` if firewalld cannot be used all the same.
    """
    with Bus() as bus:
        result = heal(bus, test=test)
    if result.refusal:
        raise EngineError(
            result.refusal.problems, (*result.refusal.notes, *result.healed)
        ) from result.refusal
    return result

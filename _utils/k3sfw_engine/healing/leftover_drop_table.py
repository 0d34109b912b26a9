"""Finds and removes the table that drops every new connection after a reload was killed.

firewalld creates it for the time of a reload. Panic mode has a table of the same name, which is
never removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Union

import psutil

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.firewalld.dbus import Bus, firewalld_is_there
from k3sfw_engine.firewalld.runtime import State, read_state
from k3sfw_engine.healing import messages
from k3sfw_engine.healing.defaults import ATTEMPTS
from k3sfw_engine.healing.known_damage import Damage
from k3sfw_engine.host.nft_netlink import NftNetlink, NftTable
from k3sfw_engine.model.difference import Difference
from k3sfw_engine.standalone.undo.drop_table import DROP_TABLE, PANIC, RELOAD, made_by

_OWN_TABLE = "firewalld"
# A chain of firewalld's own table that comes with all the others, in all versions with policies.
_COMPLETE_CHAIN = "filter_INPUT"


def is_cut_off() -> bool:
    """Whether a reload, panic mode, or what either left drops all new connections.

    It takes microseconds.
    """
    with NftNetlink() as tables:
        return tables.find(DROP_TABLE) is not None


# The state of firewalld, or why it does not answer.
FirewalldAnswer = Union[State, FirewalldUnavailable]


def ask_firewalld(bus: Bus | None) -> FirewalldAnswer:
    """Ask firewalld. An answer also means that no reload was running at that moment."""
    if bus is None:
        return FirewalldUnavailable(
            "the system D-Bus cannot be reached", "start the D-Bus daemon, then firewalld"
        )
    try:
        return read_state(bus)
    except FirewalldUnavailable as unavailable:
        return unavailable


def leftover_drop_table(bus: Bus | None, *, reloads: bool) -> Damage | None:
    """The table that drops every new connection, unless a reload that runs now made it.

    reloads
        Whether firewalld is about to be reloaded, which creates its own table anew.
    """
    with NftNetlink() as tables:
        table = tables.find(DROP_TABLE)
        if table is None:
            return None
        # A reload is over when firewalld answers, and has removed its table.
        answer = ask_firewalld(bus)
        if tables.find(DROP_TABLE) != table:
            return None
        if _is_panic(tables, answer):
            forgotten = isinstance(answer, State) and not answer.panic
            return Damage(messages.forgotten_panic()) if forgotten else None
        if _made_by(tables) != RELOAD:
            return Damage(messages.unknown_drop_table())
        dead = not isinstance(answer, State) and _is_dead(bus)
        if not dead and not isinstance(answer, State):
            return Damage(messages.reload_may_be_running(answer.sentences))
        if not reloads and not tables.has_chain(_OWN_TABLE, _COMPLETE_CHAIN):
            return Damage(messages.own_rules_are_gone(firewalld_is_dead=dead))
    return Damage(
        messages.left_by_dead_reload(),
        (Difference("kernel", f"table inet {DROP_TABLE}", extra="drops all that is new"),),
        partial(_remove, bus, table),
        "removing it",
    )


def _remove(bus: Bus | None, table: NftTable) -> Iterator[str]:
    """Remove the table, unless a reload or panic mode takes it over at this very moment.

    It looks, asks firewalld, and removes the table only if no rule of the host changed since the
    look: a reload or a panic that begins in between changes some, and one that was running ends
    with a change before firewalld answers.
    """
    with NftNetlink() as tables:
        for _ in range(ATTEMPTS):
            generation = tables.generation()
            if tables.find(DROP_TABLE) != table:
                return
            complete = tables.has_chain(_OWN_TABLE, _COMPLETE_CHAIN)
            answer = ask_firewalld(bus)
            if _is_panic(tables, answer):
                yield messages.panic_meanwhile()
                return
            if not complete or not (isinstance(answer, State) or _is_dead(bus)):
                continue
            if tables.delete(table, generation):
                return
    raise EngineError([messages.drop_table_stays()])


def _is_panic(tables: NftNetlink, answer: FirewalldAnswer) -> bool:
    asked = isinstance(answer, State) and answer.panic
    return asked or _made_by(tables) == PANIC


def _made_by(tables: NftNetlink) -> str:
    return made_by(lambda chain: tables.has_chain(DROP_TABLE, chain))


def _is_dead(bus: Bus | None) -> bool:
    """Whether no firewalld is left that could be at work in this network namespace.

    Without the bus this cannot be told: a firewalld that lost the bus may be in a reload.
    """
    if bus is None or firewalld_is_there():
        return False
    here = os.stat("/proc/self/ns/net").st_ino
    return not any(_works_in(process, here) for process in psutil.process_iter(["name"]))


def _works_in(process: psutil.Process, namespace: int) -> bool:
    if process.info["name"] != "firewalld":
        return False
    try:
        return os.stat(f"/proc/{process.pid}/ns/net").st_ino == namespace
    except OSError:
        # It ended meanwhile, or is a zombie.
        return False

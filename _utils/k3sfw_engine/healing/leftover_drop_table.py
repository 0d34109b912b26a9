"""The drop table that a firewalld killed in a reload leaves in the kernel: found and removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Union

import psutil

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.firewalld.dbus import Bus, firewalld_is_there
from k3sfw_engine.firewalld.runtime import State, read_state
from k3sfw_engine.healing.known_damage import Damage
from k3sfw_engine.host.nft_netlink import NftNetlink, NftTable
from k3sfw_engine.model.difference import Difference
from k3sfw_engine.standalone.undo.drop_table import DROP_TABLE, PANIC, RELOAD, made_by

_OWN_TABLE = "firewalld"
# A chain of firewalld's own table that comes with all the others, in all versions with policies.
_COMPLETE_CHAIN = "filter_INPUT"

# Each begins anew because some rule of the host has changed meanwhile, and takes milliseconds.
_ATTEMPTS = 50


def is_cut_off() -> bool:
    """Whether a reload, a panic or what either left drops all new connections; microseconds."""
    with NftNetlink() as tables:
        return tables.find(DROP_TABLE) is not None


# What firewalld says of itself, or why it says nothing.
FirewalldAnswer = Union[State, FirewalldUnavailable]


def ask_firewalld(bus: Bus | None) -> FirewalldAnswer:
    """Ask firewalld; that it answers also says that no reload was going on at that moment."""
    if bus is None:
        return FirewalldUnavailable(
            "the system D-Bus cannot be reached", "start the D-Bus daemon, then firewalld"
        )
    try:
        return read_state(bus)
    except FirewalldUnavailable as unavailable:
        return unavailable


# -- the table that a reload leaves when firewalld dies in it -------------------------------------


def left_over_drop_table(
    bus: Bus | None, answer: FirewalldAnswer, *, reloads: bool
) -> Iterator[Damage]:
    """The table that drops every new connection, if it is no reload's of now.

    reloads
        Whether firewalld is to be reloaded now, which makes its own table anew.
    """
    with NftNetlink() as tables:
        table = tables.find(DROP_TABLE)
        if table is None:
            return
        # A reload that made it is over when firewalld answers, and has taken it away.
        answer = ask_firewalld(bus)
        if tables.find(DROP_TABLE) != table:
            return
        here = f"the table inet {DROP_TABLE} drops every new connection, in, out and forwarded"
        if _is_panic(tables, answer):
            if isinstance(answer, State) and not answer.panic:
                yield Damage(
                    "the host is cut off by a panic that firewalld, started anew since, knows "
                    "nothing of; it is left, as somebody wanted it. Fix: nft delete table inet "
                    f"{DROP_TABLE}, once the reason is gone"
                )
            return
        if _made_by(tables) != RELOAD:
            yield Damage(
                f"the table inet {DROP_TABLE} is neither of a reload of firewalld nor of a panic, "
                f"so it is left alone. Fix: look at nft list table inet {DROP_TABLE}"
            )
            return
        dead = not isinstance(answer, State) and _is_dead(bus)
        if not dead and not isinstance(answer, State):
            yield Damage(
                f"{here}, and {'; '.join(answer.sentences)}. It is left, as a reload may be going "
                "on"
            )
            return
        if not reloads and not tables.has_chain(_OWN_TABLE, _COMPLETE_CHAIN):
            start = "systemctl start firewalld" if dead else "firewall-cmd --reload"
            yield Damage(
                f"{here}; a firewalld that died in a reload left it, and its own rules are gone: "
                f"without this table the host would be open, so it is left. Fix: {start}; then "
                "apply again"
            )
            return
        yield Damage(
            f"the table inet {DROP_TABLE}, left by a firewalld that died in a reload and dropping "
            "every new connection in, out and forwarded",
            (Difference("kernel", f"table inet {DROP_TABLE}", extra="drops all that is new"),),
            partial(_remove, bus, table),
            "removing it",
        )


def _remove(bus: Bus | None, table: NftTable) -> Iterator[str]:
    """Remove the table, unless it becomes a reload's or a panic's at this very moment.

    Looked at, then firewalld asked, then removed if no rule of the host has changed since the look:
    a reload or a panic that begins in between changes some, and one that was going on ends with a
    change before firewalld answers.
    """
    with NftNetlink() as tables:
        for _ in range(_ATTEMPTS):
            generation = tables.generation()
            if tables.find(DROP_TABLE) != table:
                return
            complete = tables.has_chain(_OWN_TABLE, _COMPLETE_CHAIN)
            answer = ask_firewalld(bus)
            if _is_panic(tables, answer):
                yield f"the table inet {DROP_TABLE} is left: panic mode was switched on meanwhile"
                return
            if not complete or not (isinstance(answer, State) or _is_dead(bus)):
                continue
            if tables.delete(table, generation):
                return
    raise EngineError(
        [
            f"the table inet {DROP_TABLE} drops every new connection and could not be removed, as "
            "firewalld or the rules of the host do not come to rest. Fix: systemctl restart "
            f"firewalld; then nft delete table inet {DROP_TABLE} if it is still there"
        ]
    )


def _is_panic(tables: NftNetlink, answer: FirewalldAnswer) -> bool:
    asked = isinstance(answer, State) and answer.panic
    return asked or _made_by(tables) == PANIC


def _made_by(tables: NftNetlink) -> str:
    return made_by(lambda chain: tables.has_chain(DROP_TABLE, chain))


def _is_dead(bus: Bus | None) -> bool:
    """Whether no firewalld is left that could be at work in this network namespace.

    Without the bus nobody can say, and one that has lost the bus may be in a reload.
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
        # It ended meanwhile, or waits for its parent to take note of that.
        return False

"""What somebody's death or a full disk left of the firewall, found and mended.

Found first and mended then, so that a dry run tells just what the other one does. What is not ours
is told and not touched: a panic is never lifted, and a firewalld that does not run never started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Union

import psutil

from .bus import Bus, firewalld_is_there
from .difference import title
from .errors import EngineError, FirewalldRefused, FirewalldUnavailable
from .firewalld import State, execute, read_state
from .iptables import keep_iptables, put_back_iptables
from .kept_files import kept
from .nft_tables import Table, Tables
from .permanent import Contents, files_of, key_of, put_back_files, read_permanent
from .shadow import try_out
from .steps import Reload

DROP_TABLE = "firewalld_policy_drop"
_OWN_TABLE = "firewalld"
# Of the drop table, a chain of a reload's and those of panic mode; of firewalld's own table, one
# that comes with all the others. Their names are the same in all versions with policies.
_RELOAD_CHAIN = "filter_input"
_PANIC_CHAINS = ("raw_prerouting", "raw_output")
_COMPLETE_CHAIN = "filter_INPUT"

# Each begins anew because some rule of the host has changed meanwhile, and takes milliseconds.
_ATTEMPTS = 50

_FAILED = "FAILED"
_BY_HAND = (
    "Mend: see firewall-cmd --check-config and journalctl -u firewalld, then systemctl restart "
    "firewalld"
)


@dataclass(frozen=True)
class Ailment:
    """Something that is wrong.

    sentence
        Of what is ours, what it is, as in "healed THIS, by removing it"; else a whole sentence.
    changes
        What mending it changes, as in ``Plan``.
    mend
        Mends it, and gives sentences about what was not as expected. ``None`` if it is not ours to
        mend.
    remedy
        How it is mended, as in "by removing it".
    reload
        Why mending it reloads firewalld, if it does.
    """

    sentence: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    mend: Callable[[], Iterable[str]] | None = None
    remedy: str = ""
    reload: str = ""


@dataclass(frozen=True)
class Health:
    """What was found and mended, or would be.

    changes
        As in ``Plan``.
    mended, notices
        Sentences: about what is ours, and about what was found besides.
    reloads
        The reasons for which firewalld was reloaded.
    refusal
        Why firewalld cannot be used all the same.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    mended: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    refusal: EngineError | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is to be told."""
        return (*self.mended, *self.notices)


def heal(
    bus: Bus | None,
    *,
    test: bool = False,
    files: bool = False,
) -> Health:
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
    answer = _ask(bus)
    failed = [*_failed(bus, answer)]
    reloads = any(each.reload for each in failed)
    found = [*failed, *_left_over_table(bus, answer, reloads=reloads)]
    if files and not reloads:
        found += _damaged_files()
    refusal: EngineError | None = answer if isinstance(answer, FirewalldUnavailable) else None
    if failed and not reloads:
        refusal = EngineError(each.sentence for each in failed)
    return replace(treat(found, test=test), refusal=refusal)


def is_cut_off() -> bool:
    """Whether a reload, a panic or what either left drops all new connections; microseconds."""
    with Tables() as tables:
        return tables.find(DROP_TABLE) is not None


def treat(found: Iterable[Ailment], *, test: bool) -> Health:
    """Mend these in their order, or tell that they would be."""
    found = tuple(found)
    changes: Mapping[str, Any] = {}
    mended: list[str] = []
    notices: list[str] = []
    for each in found:
        if each.mend is None:
            notices.append(each.sentence)
            continue
        if not test:
            notices += each.mend()
        changes = merged(changes, each.changes)
        mended.append(f"{'would heal' if test else 'healed'} {each.sentence}, by {each.remedy}")
    reloads = tuple(each.reload for each in found if each.reload)
    return Health(changes, tuple(mended), tuple(notices), reloads)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """The changes of both, by layer."""
    return {layer: {**one.get(layer, {}), **other.get(layer, {})} for layer in {**one, **other}}


# What firewalld says of itself, or why it says nothing.
_Answer = Union[State, FirewalldUnavailable]


def _ask(bus: Bus | None) -> _Answer:
    """Ask firewalld; that it answers also says that no reload was going on at that moment."""
    if bus is None:
        return FirewalldUnavailable(
            "the system D-Bus cannot be reached", "start the D-Bus daemon, then firewalld"
        )
    try:
        return read_state(bus)
    except FirewalldUnavailable as unavailable:
        return unavailable


# -- a firewalld that did not load its files -------------------------------------------------------


def _failed(bus: Bus | None, answer: _Answer) -> Iterator[Ailment]:
    """A firewalld that runs on stock rules."""
    # In panic mode somebody wants things as they are.
    if bus is None or not isinstance(answer, State) or answer.name != _FAILED or answer.panic:
        return
    copies = kept()
    wrong = _different(copies)
    ran = "firewalld is in state FAILED and runs on stock rules"
    # A reload that fails would leave no rules at all and the host open (measured on 1.3.3), and
    # firewalld's own check passes overlapping entries and rules that name no ipset.
    try:
        trial = try_out(wrong)
    except EngineError as refused:
        yield Ailment(f"{ran}. {refused.sentences[0]}")
        return
    if not trial.tried:
        yield Ailment(f"{ran}, and is not reloaded: {'; '.join(trial.notices)}. {_BY_HAND}")
        return
    if not copies:
        yield Ailment(f"{ran}, on a node where k3sfw has written no file yet. {_BY_HAND}")
        return
    by = f" because of {', '.join(_titles(wrong))}" if wrong else ""
    changes: dict[str, Any] = {
        "permanent": _file_changes(wrong),
        "runtime": {"firewalld": {"state": {"old": _FAILED, "new": "RUNNING"}}},
    }
    yield Ailment(
        f"firewalld in state FAILED, on stock rules{by}",
        {layer: each for layer, each in changes.items() if each},
        partial(_load, bus, wrong),
        f"{'putting back the files that k3sfw wrote last and ' if wrong else ''}reloading it, "
        "which was tried beside the host first",
        "firewalld is in state FAILED, and its files are good",
    )


def _load(bus: Bus, contents: Contents) -> Iterator[str]:
    """Have these files and a firewalld that runs on them; else all files as they were."""
    before = _now(contents)
    keep_iptables()
    put_back_files(contents)
    try:
        execute(bus, [Reload("the files are good")])
        state = read_state(bus).name
        if state != "RUNNING":
            raise FirewalldRefused("reload", f"it is in state {state} after it")
    except FirewalldRefused as refused:
        put_back_files(before)
        raise EngineError(
            [
                f"firewalld is in state FAILED and could not be reloaded: {refused.error}; the "
                "permanent configuration is as it was. Mend: systemctl restart firewalld, which "
                "then has its stock rules; correct what journalctl -u firewalld names",
                *put_back_iptables(),
            ]
        ) from refused
    yield from put_back_iptables()


def _different(copies: Contents) -> Contents:
    now = _now(copies)
    return {path: content for path, content in copies.items() if now[path] != content}


def _now(contents: Contents) -> Contents:
    return files_of(key_of(path) for path in contents)


def _titles(contents: Contents) -> list[str]:
    return [title(key_of(path)) for path in sorted(contents)]


def _file_changes(contents: Contents) -> dict[str, Any]:
    new = {"file": {"old": "spoilt", "new": "as k3sfw wrote it last"}}
    return dict.fromkeys(_titles(contents), new)


# -- files that cannot be read --------------------------------------------------------------------


def _damaged_files() -> Iterator[Ailment]:
    """Files named like ours, with which the next start of firewalld would come up FAILED."""
    damaged = sorted(read_permanent().damaged)
    copies = kept() if damaged else {}
    for key in damaged:
        (path,) = files_of([key])
        if path in copies:
            file = {path: copies[path]}
            yield Ailment(
                f"the unreadable permanent {title(key)}, with which firewalld's next start fails",
                {"permanent": _file_changes(file)},
                partial(_put, file),
                "putting back the file that k3sfw wrote last",
            )
        else:
            yield Ailment(
                f"the permanent {title(key)} cannot be read, so the next start of firewalld fails; "
                f"k3sfw has no copy of it and leaves it alone. Mend: if it is k3sfw's, salt MINION "
                f"state.apply k3s.firewall writes it anew; else look at {path}, then delete it"
            )


def _put(file: Contents) -> tuple[str, ...]:
    put_back_files(file)
    return ()


# -- the table that a reload leaves when firewalld dies in it -------------------------------------


def _left_over_table(bus: Bus | None, answer: _Answer, *, reloads: bool) -> Iterator[Ailment]:
    """The table that drops every new connection, if it is no reload's of now.

    reloads
        Whether firewalld is to be reloaded now, which makes its own table anew.
    """
    with Tables() as tables:
        table = tables.find(DROP_TABLE)
        if table is None:
            return
        # A reload that made it is over when firewalld answers, and has taken it away.
        answer = _ask(bus)
        if tables.find(DROP_TABLE) != table:
            return
        here = f"the table inet {DROP_TABLE} drops every new connection, in, out and forwarded"
        if _is_panic(tables, answer):
            if isinstance(answer, State) and not answer.panic:
                yield Ailment(
                    "the host is cut off by a panic that firewalld, started anew since, knows "
                    "nothing of; it is left, as somebody wanted it. Mend: nft delete table inet "
                    f"{DROP_TABLE}, once the reason is gone"
                )
            return
        if not tables.has_chain(DROP_TABLE, _RELOAD_CHAIN):
            yield Ailment(
                f"the table inet {DROP_TABLE} is neither of a reload of firewalld nor of a panic, "
                f"so it is left alone. Mend: look at nft list table inet {DROP_TABLE}"
            )
            return
        dead = not isinstance(answer, State) and _is_dead(bus)
        if not dead and not isinstance(answer, State):
            yield Ailment(
                f"{here}, and {'; '.join(answer.sentences)}. It is left, as a reload may be going "
                "on"
            )
            return
        if not reloads and not tables.has_chain(_OWN_TABLE, _COMPLETE_CHAIN):
            start = "systemctl start firewalld" if dead else "firewall-cmd --reload"
            yield Ailment(
                f"{here}; a firewalld that died in a reload left it, and its own rules are gone: "
                f"without this table the host would be open, so it is left. Mend: {start}; then "
                "apply again"
            )
            return
        yield Ailment(
            f"the table inet {DROP_TABLE}, left by a firewalld that died in a reload and dropping "
            "every new connection in, out and forwarded",
            {"kernel": {f"table inet {DROP_TABLE}": {"old": "drops all that is new", "new": None}}},
            partial(_remove, bus, table),
            "removing it",
        )


def _remove(bus: Bus | None, table: Table) -> Iterator[str]:
    """Remove the table, unless it becomes a reload's or a panic's at this very moment.

    Looked at, then firewalld asked, then removed if no rule of the host has changed since the look:
    a reload or a panic that begins in between changes some, and one that was going on ends with a
    change before firewalld answers.
    """
    with Tables() as tables:
        for _ in range(_ATTEMPTS):
            generation = tables.generation()
            if tables.find(DROP_TABLE) != table:
                return
            complete = tables.has_chain(_OWN_TABLE, _COMPLETE_CHAIN)
            answer = _ask(bus)
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
            "firewalld or the rules of the host do not come to rest. Mend: systemctl restart "
            f"firewalld; then nft delete table inet {DROP_TABLE} if it is still there"
        ]
    )


def _is_panic(tables: Tables, answer: _Answer) -> bool:
    asked = isinstance(answer, State) and answer.panic
    return asked or any(tables.has_chain(DROP_TABLE, chain) for chain in _PANIC_CHAINS)


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

"""Finds our files that firewalld cannot load, and puts back the copies that were kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from k3sfw_engine.errors import EngineError, FirewalldRefused
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.file_copies import kept
from k3sfw_engine.firewalld.permanent import (
    Contents,
    files_of,
    key_of,
    put_back_files,
    read_permanent,
)
from k3sfw_engine.firewalld.runtime import State, execute, read_state
from k3sfw_engine.firewalld.trial_start import try_out
from k3sfw_engine.healing import messages
from k3sfw_engine.healing.known_damage import Damage
from k3sfw_engine.healing.leftover_drop_table import FirewalldAnswer
from k3sfw_engine.host.iptables_save_restore import keep_iptables, put_back_iptables
from k3sfw_engine.model.difference import Difference, Differences
from k3sfw_engine.model.firewall_objects import title
from k3sfw_engine.plan.steps import Reload

_FAILED, _RUNNING = "FAILED", "RUNNING"


# -- a firewalld that did not load its files -------------------------------------------------------


def failed_start(bus: Bus | None, answer: FirewalldAnswer) -> Iterator[Damage]:
    """A firewalld that runs on stock rules, because it did not load its files."""
    # Panic mode is there on purpose; nothing is changed under it.
    if bus is None or not isinstance(answer, State) or answer.name != _FAILED or answer.panic:
        return
    copies = kept()
    wrong = _different(copies)
    # A reload that fails would leave no rules at all and the host open (measured on 1.3.3), and
    # firewalld's own check passes overlapping entries and rules that name no ipset.
    try:
        trial = try_out(wrong)
    except EngineError as refused:
        yield Damage(messages.would_not_load(refused.problems[0]))
        return
    if not trial.tried:
        yield Damage(messages.not_tried(trial.notices))
        return
    if not copies:
        yield Damage(messages.nothing_of_ours())
        return
    state = Difference("runtime", "firewalld", "state", missing=_RUNNING, extra=_FAILED)
    yield Damage(
        messages.started_on_stock_rules([title(key_of(path)) for path in sorted(wrong)]),
        (*_file_differences(wrong), state),
        partial(_load, bus, wrong),
        f"{'putting back the files that k3sfw wrote last and ' if wrong else ''}reloading it, "
        "after a trial start in isolation",
        "firewalld is in state FAILED, and its files are good",
    )


def _load(bus: Bus, contents: Contents) -> Iterator[str]:
    """Write these files and reload firewalld; on failure restore the old files."""
    before = _now(contents)
    keep_iptables()
    put_back_files(contents)
    try:
        execute(bus, [Reload("the files are good")])
        state = read_state(bus).name
        if state != _RUNNING:
            raise FirewalldRefused("reload", f"it is in state {state} after it")
    except FirewalldRefused as refused:
        put_back_files(before)
        raise EngineError(
            [messages.reload_failed(refused.error), *put_back_iptables()]
        ) from refused
    yield from put_back_iptables()


def _different(copies: Contents) -> Contents:
    now = _now(copies)
    return {path: content for path, content in copies.items() if now[path] != content}


def _now(contents: Contents) -> Contents:
    return files_of(key_of(path) for path in contents)


def _file_differences(contents: Contents) -> Differences:
    return tuple(
        Difference("permanent", key_of(path), "file", "as k3sfw wrote it last", "spoilt")
        for path in sorted(contents)
    )


# -- files that cannot be read --------------------------------------------------------------------


def damaged_files() -> Iterator[Damage]:
    """Our files that cannot be read: with them the next start of firewalld would fail."""
    damaged = sorted(read_permanent().damaged)
    copies = kept() if damaged else {}
    for key in damaged:
        (path,) = files_of([key])
        if path in copies:
            file = {path: copies[path]}
            yield Damage(
                messages.unreadable(title(key)),
                _file_differences(file),
                partial(_put, file),
                "putting back the file that k3sfw wrote last",
            )
        else:
            yield Damage(messages.unreadable_without_copy(title(key), path))


def _put(file: Contents) -> tuple[str, ...]:
    put_back_files(file)
    return ()

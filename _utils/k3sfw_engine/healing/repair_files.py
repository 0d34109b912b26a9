"""Files of ours that firewalld cannot load: found and written again."""

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
from k3sfw_engine.healing.known_damage import Damage
from k3sfw_engine.healing.leftover_drop_table import FirewalldAnswer
from k3sfw_engine.host.iptables_save_restore import keep_iptables, put_back_iptables
from k3sfw_engine.model.difference import Difference, Differences
from k3sfw_engine.model.firewall_objects import title
from k3sfw_engine.plan.steps import Reload

_FAILED = "FAILED"
_BY_HAND = (
    "Fix: see firewall-cmd --check-config and journalctl -u firewalld, then systemctl restart "
    "firewalld"
)


# -- a firewalld that did not load its files -------------------------------------------------------


def failed_start(bus: Bus | None, answer: FirewalldAnswer) -> Iterator[Damage]:
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
        yield Damage(f"{ran}. {refused.sentences[0]}")
        return
    if not trial.tried:
        yield Damage(f"{ran}, and is not reloaded: {'; '.join(trial.notices)}. {_BY_HAND}")
        return
    if not copies:
        yield Damage(f"{ran}, on a node where k3sfw has written no file yet. {_BY_HAND}")
        return
    by = f" because of {', '.join(_titles(wrong))}" if wrong else ""
    state = Difference("runtime", "firewalld", "state", missing="RUNNING", extra=_FAILED)
    yield Damage(
        f"firewalld in state FAILED, on stock rules{by}",
        (*_file_differences(wrong), state),
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
                "permanent configuration is as it was. Fix: systemctl restart firewalld, which "
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


def _file_differences(contents: Contents) -> Differences:
    return tuple(
        Difference("permanent", key_of(path), "file", "as k3sfw wrote it last", "spoilt")
        for path in sorted(contents)
    )


# -- files that cannot be read --------------------------------------------------------------------


def damaged_files() -> Iterator[Damage]:
    """Files named like ours, with which the next start of firewalld would come up FAILED."""
    damaged = sorted(read_permanent().damaged)
    copies = kept() if damaged else {}
    for key in damaged:
        (path,) = files_of([key])
        if path in copies:
            file = {path: copies[path]}
            yield Damage(
                f"the unreadable permanent {title(key)}, with which firewalld's next start fails",
                _file_differences(file),
                partial(_put, file),
                "putting back the file that k3sfw wrote last",
            )
        else:
            yield Damage(
                f"the permanent {title(key)} cannot be read, so the next start of firewalld fails; "
                f"k3sfw has no copy of it and leaves it alone. Fix: if it is k3sfw's, salt MINION "
                f"state.apply k3s.firewall writes it anew; else look at {path}, then delete it"
            )


def _put(file: Contents) -> tuple[str, ...]:
    put_back_files(file)
    return ()

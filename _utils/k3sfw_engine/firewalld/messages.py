"""The problems of firewalld, each with its fix."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from k3sfw_engine.errors import Problem
from k3sfw_engine.host.defaults import BUS_SECONDS

_LOG = "journalctl -u firewalld"
# It lets in what is alive before firewalld starts.
_PREPARED_START = "salt MINION state.apply k3s.firewall"
_CHECK = "firewall-cmd --check-config"
_OFFLINE_CHECK = "firewall-offline-cmd --check-config"

# -- firewalld and its bus ------------------------------------------------------------------------


def bus_is_frozen() -> Problem:
    return Problem(
        f"the system D-Bus does not answer within {BUS_SECONDS:.0f} seconds",
        "restart the D-Bus daemon (systemctl restart dbus), then firewalld",
    )


def bus_is_unreachable(error: Exception) -> Problem:
    return Problem(
        f"the system D-Bus cannot be reached ({error})",
        "start the D-Bus daemon (systemctl start dbus), then firewalld",
    )


def bus_hung_up(error: Exception) -> Problem:
    return Problem(
        f"the system D-Bus closed the connection ({error})",
        "make sure that the D-Bus daemon and firewalld run, then apply again",
    )


def is_frozen(seconds: float) -> Problem:
    return Problem(
        f"firewalld is on the D-Bus and did not answer within {seconds:.0f} seconds; it is "
        "frozen, or busy with a very large change",
        f"look at its log ({_LOG}); if it stays so, systemctl restart firewalld, which takes the "
        "rules along that exist only at runtime",
    )


def is_not_installed() -> Problem:
    return Problem(
        "firewalld is not installed",
        f"{_PREPARED_START}; it installs the package too",
    )


def is_masked(unit: str) -> Problem:
    return Problem(
        f"firewalld is masked ({unit} links to /dev/null)",
        f"systemctl unmask firewalld, then {_PREPARED_START}",
    )


def is_not_running() -> Problem:
    """A start that is not prepared would cut live connections of the node."""
    return Problem("firewalld is not running", _PREPARED_START)


def runs_on_stock_rules(state: str) -> Problem:
    return Problem(
        f"firewalld is in state {state}: it runs on stock rules, because its permanent "
        "configuration did not load",
        f"{_CHECK} and {_LOG} name the file; correct it, then systemctl restart firewalld",
    )


def is_in_panic_mode() -> Problem:
    return Problem(
        "firewalld is in panic mode: this host was cut off on purpose",
        "firewall-cmd --panic-off, once the reason is gone; then apply again",
    )


def is_locked_down() -> Problem:
    """firewalld's own whitelist has root in it; a process of root could add it anyway."""
    return Problem(
        "firewalld is locked down, and its whitelist does not allow root, as which Salt and the "
        "undo program run; nothing was changed",
        "firewall-offline-cmd --add-lockdown-whitelist-uid=0 && firewall-cmd --reload",
    )


def has_no_policies(error: str) -> Problem:
    return Problem(
        f"this firewalld has no policies ({error})",
        "update it to 0.9 or newer; rules that hold in every zone need them",
    )


def has_no_ipsets(error: str) -> Problem:
    return Problem(
        f"firewalld cannot use ipsets ({error.rstrip('.')}): the ipset program is missing or does "
        "not work; the iptables backend needs it, and so does every backend up to 0.9. Nothing was "
        "changed",
        "install the package ipset and restart firewalld, then apply again; if the program is "
        "there, see what ipset list says",
    )


# -- its permanent configuration ------------------------------------------------------------------


def would_not_load(error: str) -> Problem:
    return Problem(
        f"firewalld's permanent configuration would not load: {error}. Nothing of it was changed, "
        "and firewalld was not reloaded",
        f"correct what {_CHECK} names, then apply again",
    )


def cannot_be_written(error: OSError, folder: Path) -> Problem:
    return Problem(
        f"the permanent configuration cannot be written ({_reason(error)}); nothing of it was "
        "changed",
        f"make room, or make {folder} writable; then apply again",
    )


def cannot_be_restored(error: OSError) -> Problem:
    return Problem(
        "files of the permanent configuration were changed and cannot be restored "
        f"({_reason(error)})",
        "make room, or make the folder writable; then apply again",
    )


def no_copies(error: OSError, folder: Path) -> Problem:
    return Problem(
        f"copies of the permanent configuration cannot be kept ({_reason(error)})",
        f"make room, or make {folder} writable; then apply again",
    )


def _reason(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}"


def trial_failed(reason: str, file: str, cause: str) -> Problem:
    """The problem of a trial start that failed because of the configuration.

    cause
        ``new files``, ``old files``, or nothing if that is not known.
    """
    where = file or f"what it names below /etc/firewalld (see {_CHECK})"
    clauses = {
        "new files": "With the present files it does load, so the new ones are at fault. ",
        "old files": "The present files do not load either, so firewalld's next restart fails. ",
    }
    correct = f"correct it in pillar, or {where}" if cause == "new files" else f"correct {where}"
    return Problem(
        f"firewalld's permanent configuration would not load: {reason}"
        f"{f' (in {file})' if file else ''}. {clauses.get(cause, '')}Nothing was changed, and "
        "firewalld was not reloaded",
        f"{correct}, then apply again",
    )


def check_failed(reason: str, *, new_ones: bool) -> Problem:
    """The problem of a configuration that firewalld's own check refuses.

    new_ones
        Whether the present files are good, so that the new ones are at fault.
    """
    clause = "With the present files it would, so the new ones are at fault. " if new_ones else ""
    correct = "correct it in pillar" if new_ones else f"correct what {_OFFLINE_CHECK} names"
    return Problem(
        f"firewalld's permanent configuration would not load: {reason}. {clause}Nothing was "
        "changed",
        f"{correct}, then apply again",
    )


def validated_by_trial() -> str:
    return "validated: a second firewalld started with these files, in a network of its own"


def validated_by_check() -> str:
    return (
        "validated by firewall-offline-cmd --check-config, as no second firewalld can be started "
        "here; overlapping entries in an ipset would show at the first start only"
    )


def not_validated() -> Problem:
    return Problem(
        "the files were not validated, as firewalld is not installed here",
        "salt-call --local state.apply k3s.firewall; it installs the package first",
    )


def not_tried(why: str) -> Problem:
    return Problem(
        f"the configuration could not be tried on a second firewalld first ({why}); what only a "
        "start shows, such as overlapping entries in an ipset, would show when firewalld is "
        "reloaded",
        see=f"{_LOG} after the reload",
    )


# -- zones and rules of others --------------------------------------------------------------------


def no_such_zone(name: str, known: Iterable[str], default: str) -> Problem:
    return Problem(
        f"firewalld has no zone {name}",
        f"name one of {', '.join(sorted(known))}, or none for its default zone, {default}",
    )


def zone_file_differs(name: str) -> Problem:
    return Problem(
        f"the file of the permanent zone {name} is not as firewalld knows it: it was just edited, "
        "or cannot be read",
        f"wait five seconds and adopt again; if this stays, see {_CHECK}",
    )


def not_restored(call: str, error: str) -> Problem:
    return Problem(
        f"a runtime change of others could not be restored after the reload: {call}: {error}"
    )

"""What a transaction says: data in, a Problem or a sentence out. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.rows import ROOT

# -- before a change ------------------------------------------------------------------------------


def state_folder_unwritable(folder: Path, error: OSError) -> Problem:
    return Problem(
        f"{folder} cannot be written ({error.strerror}: {error.filename}), and nothing is changed "
        "that could not be undone after a crash",
        "make room, or make the folder writable, then apply again",
    )


def record_unreadable(folder: Path, error: Exception) -> Problem:
    return Problem(
        f"the record of a change in {folder} cannot be read ({error})",
        f"look at the node's firewall (k3sfw.status), then remove {folder}",
    )


def no_watchdog(error: Exception) -> Problem:
    return Problem(
        f"no watchdog can be started that would undo a run that dies ({error}); nothing was "
        "changed",
        "make systemd-run, or sh and flock, work; then apply again",
    )


def node_list_is_incomplete(reasons: Iterable[str]) -> str:
    return (
        "no node is removed from any ipset, because the list of nodes may be incomplete: "
        + "; ".join(reasons)
    )


FILES_IN_STEP = "the permanent configuration matches the tables; firewalld does not run"
FILES_REMOVED = "the permanent configuration has nothing of k3sfw; firewalld does not run"
NOTHING_OF_OURS = "nothing of k3sfw is in firewalld"
NOT_PREPARED = "nothing to prepare"


def only_files() -> str:
    return "firewalld does not run: its permanent configuration alone is compared"


def nftables_service_stops(file: str, own: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """Return what a start of firewalld flushes, and what is restored."""
    stops = "systemd stops nftables.service when firewalld starts, which flushes every nft table"
    going, kept = ", ".join(own), ", ".join(others)
    if going:
        yield str(
            Problem(
                f"{stops}: {going}, which {file} makes, will be gone",
                "move the rules that you need into firewalld first",
            )
        )
    if kept:
        yield f"{stops}; the next apply restores those of other programs: {kept}"


# -- a change that does not prove itself ----------------------------------------------------------


def still_differs(layer: str, difference: object) -> Problem:
    return Problem(f"after the change, {layer} still differs from what is wanted: {difference}")


def connection_lost(address: str, port: int) -> Problem:
    return Problem(f"{address} does not accept a new connection at tcp/{port} any more")


def master_was_silent(seconds: float) -> str:
    return (
        f"before the change the master accepted connections, but did not answer a request within "
        f"{seconds:.0f} seconds; so new connections that it accepts are the proof"
    )


def master_is_busy(seconds: float, reason: str) -> str:
    return (
        f"the master is reached, but busy: it accepts and acknowledges new connections, and did "
        f"not answer a request within {seconds:.0f} seconds ({reason}); the change is kept"
    )


def zone_still_differs(layer: str, zone: str, setting: str, value: object) -> Problem:
    return Problem(
        f"after the change, {setting} of the {layer} zone {zone} still differ from what is "
        f"wanted: {value}"
    )


def kernel_still_accepts(item: object, zone: str) -> Problem:
    return Problem(
        f"after the change, the kernel still accepts {item} in zone {zone}",
        "firewall-cmd --reload, then adopt again",
    )


def not_in_force(what: str, at: str) -> Problem:
    return Problem(
        f"the {what} of {at} is not in force any more: firewalld was reloaded or restarted, or "
        "something else changed it",
        "k3sfw.rollback, then apply again",
    )


# -- the undo program -----------------------------------------------------------------------------


def undo_program_fails(error: Exception) -> Problem:
    return Problem(f"the undo program does not run ({error})")


def undo_program_did_nothing() -> Problem:
    return Problem("the undo program reported no problem, and undid nothing")


def cannot_be_undone(what: str, at: str) -> Problem:
    return Problem(
        f"the {what} of {at} cannot be undone, so nothing else is tried",
        "find out why firewalld does not answer (journalctl -u firewalld), then apply again",
    )


# -- a change that has not ended ------------------------------------------------------------------


def waits_for_confirmation(what: str, at: str, until: str) -> Problem:
    return Problem(
        f"the {what} of {at} is undone at {until} unless it is confirmed",
        "k3sfw.confirm keeps it, k3sfw.rollback undoes it now",
    )


def undone_first(what: str, at: str) -> str:
    return f"the {what} of {at} was broken off; all of it was undone first"


def will_be_undone_first(what: str, at: str) -> str:
    return f"the {what} of {at} was broken off and will be undone first"


def still_running(what: str, at: str) -> str:
    return f"the {what} of {at} is still running; this is a snapshot taken while it runs"


def nothing_waits() -> Problem:
    return Problem(
        "no change waits to be confirmed; one that waited too long was undone",
        "see k3sfw.history, then apply again",
    )


# -- a rollback -----------------------------------------------------------------------------------


def rollback_unpredictable(what: str, at: str) -> Problem:
    return Problem(
        f"the {what} of {at} is still running, so the result of a rollback cannot be predicted",
        "ask again when k3sfw.history shows how it ended",
    )


def no_longer_waits(name: str) -> Problem:
    return Problem(
        f"{name} does not wait to be confirmed any more: it was confirmed or undone just now",
        "see k3sfw.history; a change that was kept can be rolled back, too",
    )


def overtaken(name: str, by: str) -> Problem:
    return Problem(
        f"another change was made just now, {by}, so nothing is rolled back",
        f"see k3sfw.history; k3sfw.rollback to={name} undoes both",
    )


def undone_already(told: str, name: str) -> Problem:
    return Problem(
        f"{told} already, so nothing else is rolled back",
        f"see k3sfw.history; k3sfw.rollback to={name} undoes that earlier change, too",
    )


def no_such_change(name: str | None, kept: Sequence[str]) -> Problem:
    named = f"the change {name}" if name else "a change"
    return Problem(
        f"there is no record of {named} of this node that was kept",
        f"k3sfw.history lists them; to go back to: {', '.join(kept) or 'none'}",
    )


def adoption_stays(name: str, commands: Iterable[str]) -> Problem:
    return Problem(
        f"{name} took out of your zone what the script had opened, and k3sfw puts nothing into it",
        "; ".join(commands),
    )


def not_of_this_version(name: str, version: str) -> Problem:
    return Problem(
        f"what this node had before {name} is not complete, or was not made by k3sfw {version}, "
        "so it does not go back there",
        "correct the tables in pillar, then apply",
    )


def made_by_newer(version: str, ours: str, *, stopped: bool = False) -> Problem:
    """Return the refusal of an older version.

    stopped
        Whether firewalld is stopped: it starts with the rules of the newer version first.
    """
    start = "systemctl start firewalld, then " if stopped else ""
    return Problem(
        f"k3sfw {version} made the rules of this node, and this is the older {ours}, which may "
        "not know all of them",
        f"let the master serve {version} again, then salt-call saltutil.sync_all; or, to go back "
        f"on purpose, {start}salt-call k3sfw.apply allow_downgrade=True",
    )


# -- promises -------------------------------------------------------------------------------------

ALLOW_BROKEN = f"{ROOT}:firewall:allow_broken_tests"


def or_allow_broken(problem: Problem) -> Problem:
    """Return the problem with the setting that allows the change as a second fix."""
    allow = f"set {ALLOW_BROKEN}: true for this one apply"
    return Problem(problem.text, f"{problem.fix}, or {allow}" if problem.fix else allow)


def allowed_broken(problem: Problem) -> str:
    """Return the notice for an operator who allowed a promise to be broken."""
    return f"{problem.text}; {ALLOW_BROKEN} allows it"


def last_tables_stay(comment: str) -> str:
    """Return the notice about the nodes that are followed although the new tables are refused."""
    return f"the last proven tables stay in force, with the nodes of today: {comment}"


def tables_not_kept(file: Path, error: OSError) -> Problem:
    return Problem(
        f"{file}, the last tables that were proven here, cannot be written ({error.strerror}); the "
        "next change is compared with older ones",
        "make room on its disk, and make it writable",
    )

"""What healing says: data in, a Problem or a sentence out. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.host_ports import PodPorts
from k3sfw_engine.standalone.undo.drop_table import DROP_TABLE

_TABLE = f"the table inet {DROP_TABLE}"
# What heals our own damage.
_HEAL = "k3sfw.heal"
_FAILED = "firewalld is in state FAILED and runs on stock rules"
_BY_HAND = (
    "see firewall-cmd --check-config and journalctl -u firewalld, then systemctl restart firewalld"
)


def healed(problem: Problem, remedy: str, *, test: bool) -> str:
    return f"{'would be healed' if test else 'healed'} by {remedy}: {problem.text}"


# -- the drop table -------------------------------------------------------------------------------


def left_by_dead_reload() -> Problem:
    return Problem(
        f"{_TABLE} drops every new connection, in, out and forwarded; a firewalld that died in a "
        "reload left it",
        _HEAL,
    )


def forgotten_panic() -> Problem:
    return Problem(
        "the host is still in panic mode from before firewalld restarted, and firewalld does not "
        "know it; it is left in place, because someone enabled it on purpose",
        f"nft delete table inet {DROP_TABLE}, once the reason is gone",
    )


def unknown_drop_table() -> Problem:
    return Problem(
        f"neither a reload of firewalld nor panic mode made {_TABLE}, so it is left alone",
        f"look at nft list table inet {DROP_TABLE}",
    )


def reload_may_be_running(unavailable: Iterable[str]) -> Problem:
    return Problem(
        f"{_TABLE} drops every new connection, in, out and forwarded, and "
        f"{'; '.join(unavailable)}. It is left, because a reload may be running"
    )


def own_rules_are_gone(*, firewalld_is_dead: bool) -> Problem:
    start = "systemctl start firewalld" if firewalld_is_dead else "firewall-cmd --reload"
    return Problem(
        f"{_TABLE} drops every new connection, in, out and forwarded; a firewalld that died in a "
        "reload left it, and its own rules are gone: without this table the host would be open, "
        "so it is left",
        f"{start}; then apply again",
    )


def panic_meanwhile() -> str:
    return f"{_TABLE} is left: panic mode was switched on meanwhile"


def drop_table_stays() -> Problem:
    return Problem(
        f"{_TABLE} drops every new connection and could not be removed, because firewalld or the "
        "rules of the host keep changing",
        f"systemctl restart firewalld; then nft delete table inet {DROP_TABLE} if it is still "
        "there",
    )


# -- a firewalld that did not load its files ------------------------------------------------------


def started_on_stock_rules(because_of: Sequence[str]) -> Problem:
    by = f" because of {', '.join(because_of)}" if because_of else ""
    return Problem(f"{_FAILED}{by}", _HEAL)


def would_not_load(refusal: Problem) -> Problem:
    return Problem(f"{_FAILED}. {refusal.text}", refusal.fix, refusal.see)


def not_tried(notices: Iterable[str]) -> Problem:
    return Problem(f"{_FAILED}, and is not reloaded: {'; '.join(notices)}", _BY_HAND)


def nothing_of_ours() -> Problem:
    return Problem(f"{_FAILED}, on a node where k3sfw has written no file yet", _BY_HAND)


def reload_failed(error: str) -> Problem:
    return Problem(
        f"firewalld is in state FAILED and could not be reloaded: {error}; the permanent "
        "configuration is as it was",
        "systemctl restart firewalld, which then has its stock rules; correct what journalctl -u "
        "firewalld names",
    )


# -- files that cannot be read --------------------------------------------------------------------


def unreadable(title: str) -> Problem:
    return Problem(
        f"the permanent {title} cannot be read, so the next start of firewalld fails", _HEAL
    )


def unreadable_without_copy(title: str, path: object) -> Problem:
    return Problem(
        f"the permanent {title} cannot be read, so the next start of firewalld fails; k3sfw has no "
        "copy of it and leaves it alone",
        "if it is k3sfw's, salt MINION state.apply k3s.firewall writes it anew; otherwise correct "
        f"{path}: firewall-cmd --check-config says what is wrong with it",
    )


# -- hostPorts ------------------------------------------------------------------------------------


def host_ports_lost(pod: PodPorts) -> Problem:
    return Problem(
        f"the rules that redirect hostPort {', '.join(pod.targets)} to pod {pod.pod} are gone, as "
        "after a reload or restart of a firewalld before 2.0",
        _HEAL,
    )


def host_ports_stay_lost(reasons: Iterable[str]) -> Problem:
    why = "; ".join(dict.fromkeys(reasons)) or "they disappear at once"
    return Problem(
        f"the rules of hostPorts are gone and cannot be written again ({why})",
        "find out what writes iptables' table nat besides (iptables-save -t nat), then k3sfw.heal",
    )

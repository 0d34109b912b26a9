"""What the steps of a packet's way say: data in, a sentence out. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.checks.walk.object_decision import Decision, Fate
from k3sfw_engine.model.nat import Redirection


def no_redirection() -> str:
    return "no destination NAT of this host redirects it"


def redirected(found: Iterable[Redirection]) -> str:
    by = " and ".join(dict.fromkeys(map(str, found)))
    return (
        f"{by} redirects it before any rule for this host, so neither rows nor zones decide about "
        "it"
    )


def not_read(what: str, why: Iterable[str]) -> str:
    return f"{what} could not be read: {'; '.join(why)}"


def no_policy(when: str) -> str:
    return f"no policy of others {when} decides about it"


def decided(what: str, decision: Decision) -> str:
    """What an object decides, by which element, and what may decide before."""
    by = f" by {decision.by}" if decision.by else ""
    words = f"{what}: it is {decision.fate.value}{by}"
    if decision.fate is Fate.GOES_ON:
        words = f"{what} does not decide about it"
    if decision.maybe:
        words += "; what the question does not say may match "
        words += ", ".join(each.by for each in decision.maybe)
    return words


def allowed_by_rows(rows: Iterable[str]) -> str:
    return f"allowed by {', '.join(rows)}"


def in_no_row() -> str:
    return "no row of this node allows it"


def arrives_nowhere(reason: str) -> str:
    return (
        "it is not known on which interface it would arrive, as there is no route back to its "
        f"source ({reason})"
    )


def arrives_on(interface: str) -> str:
    return f"it arrives on {interface}"


def from_this_host() -> str:
    return "it comes from this host itself, and firewalld allows that"


def in_kernel(rules: Iterable[str]) -> str:
    return f"the kernel has the rule: {'; '.join(rules)}"


def not_in_kernel(rules: Iterable[str]) -> str:
    return (
        f"the rule of the row is not in the kernel ({'; '.join(rules)}), so the row is not in "
        "force. Fix: state.apply k3s.firewall on this node"
    )


def no_rule_expected() -> str:
    return "no rule of k3sfw is about it, and none has to be in the kernel"

"""check_ports on this node: is every row in force in each layer, and does somebody listen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.model.difference import Difference, Differences, Subject
from k3sfw_engine.model.firewall_objects import PODS_TO_ANY, PODS_TO_HOST, ROWS, ZONE, Kind
from k3sfw_engine.model.listeners import Listener, listening_on
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.port_ranges import common
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import is_pod_row
from k3sfw_engine.model.rows import Protocol, Row
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.policies import by_address
from k3sfw_engine.plan.observed import LAYERS


def check_rows(
    node: str,
    wanted: Desired,
    differences: Differences,
    listeners: Iterable[Listener],
    redirected: Iterable[Redirection] = (),
    *,
    kernel_read: bool,
) -> tuple[Check, ...]:
    """Judge every row of this node by its own rules and listeners; worst first.

    differences
        Between what is wanted and what is observed, as a ``Plan`` has them.
    redirected
        What Kubernetes serves in the place of a listener.
    kernel_read
        Whether the kernel's rules could be read.
    """
    serving = (tuple(listeners), tuple(redirected))
    checks = [_check(node, row, wanted, differences, serving, kernel_read) for row in wanted.rows]
    checks += _exposed(node, differences)
    return worst_first(checks)


def _check(
    node: str,
    row: Row,
    wanted: Desired,
    differences: Differences,
    serving: tuple[tuple[Listener, ...], tuple[Redirection, ...]],
    kernel_read: bool,
) -> Check:
    listeners, redirected = serving
    lacking = {
        layer: list(_lacks(row, wanted, (each for each in differences if each.layer == layer)))
        for layer in LAYERS
    }
    out_of_step = [layer for layer in LAYERS if lacking[layer]]
    found = listening_on(listeners, row.protocol, row.ports)
    instead = ", ".join(sorted({str(each) for each in redirected if _is_for(each, row)}))
    by = ""
    hint = ""
    if out_of_step:
        status = Status.BLOCKED
        by = f"{node} ({', '.join(out_of_step)})"
        evidence = "; ".join(f"{layer}: {lacking[layer][0]}" for layer in out_of_step)
        hint = f"salt {node} state.apply k3s.firewall"
    elif not kernel_read:
        status = Status.UNPROVEN
        evidence = "in force at runtime and permanently; the kernel's rules are not nftables'"
        hint = "set FirewallBackend=nftables in /etc/firewalld/firewalld.conf, restart firewalld"
    elif has_listeners(row) and not found and instead:
        status = Status.OK
        evidence = f"in force in every layer; served by redirection ({instead})"
    elif has_listeners(row) and not found:
        status = Status.NO_LISTENER
        evidence = "in force in every layer, but nobody listens on this node"
        hint = "start the service, or expect it to be served by another address (ServiceLB)"
    else:
        status = Status.OK
        names = ", ".join(sorted({f"{each.process} on {each.port}" for each in found}))
        evidence = f"in force in every layer{f'; listening: {names}' if names else ''}"
    return Check(
        source=", ".join(map(str, row.sources)),
        to=node,
        protocol=row.protocol.value,
        port=",".join(map(str, row.ports)),
        description=row.description or row.name,
        expect="open",
        status=status,
        by=by,
        evidence=evidence,
        hint=hint,
    )


def has_listeners(row: Row) -> bool:
    """Whether one can see who listens for the row."""
    return row.protocol in (Protocol.TCP, Protocol.UDP)


def _is_for(redirection: Redirection, row: Row) -> bool:
    return redirection.protocol is row.protocol and any(
        common(redirection.ports, span) for span in row.ports
    )


def _lacks(row: Row, wanted: Desired, differences: Iterable[Difference]) -> Iterator[str]:
    """What one layer lacks for the row to be in force."""
    differences = sorted(differences, key=_title)
    if not differences:
        return
    keys, rules = _holding(row, wanted)
    for each in differences:
        if each.subject not in keys:
            continue
        if each.is_new:
            yield str(each)
        missing = [
            item for item in each.missing_items if each.setting != "rich_rules" or item in rules
        ]
        if missing and _blocks(each):
            yield f"{each.title} lacks {each.setting} {', '.join(map(str, missing))}"


def _holding(row: Row, wanted: Desired) -> tuple[frozenset[Subject], frozenset[RichRule]]:
    """The objects by which the row is in force, and its rules as they may stand there."""
    if wanted.pods_by_interface and is_pod_row(row):
        policies = ((Kind.POLICY, name) for name in (PODS_TO_HOST, PODS_TO_ANY))
        return frozenset([(Kind.ZONE, ZONE), *policies]), frozenset()
    own = [each.rule for each in wanted.rules if each.row is row]
    ipsets = ((Kind.IPSET, rule.ipset) for rule in own if rule.ipset)
    instead = (by_address(rule, wanted.objects) for rule in own if rule.ipset)
    return frozenset([(Kind.POLICY, ROWS), *ipsets]), frozenset(own).union(*instead)


def _title(difference: Difference) -> str:
    return difference.title


def _blocks(difference: Difference) -> bool:
    """Whether a packet is kept out by the lack of this, rather than let in or left alone."""
    if difference.setting == "target":
        return difference.missing_items == ("ACCEPT",)
    return difference.setting not in ("short", "description", "masquerade", "forward")


def _exposed(node: str, differences: Differences) -> Iterator[Check]:
    """What our objects let in beyond the rows: rules and members that nobody asked for."""
    for each in sorted(differences, key=lambda each: LAYERS.index(each.layer)):
        if each.extra_items and (
            isinstance(each.extra, tuple) or each.extra is True or each.extra == "ACCEPT"
        ):
            yield Check(
                source="",
                to=node,
                protocol=each.title,
                description=each.title,
                expect="closed",
                status=Status.EXPOSED,
                by=f"{node} ({each.layer})",
                evidence=f"{each.layer}: {each.title} has {each.setting} that no row asks for: "
                f"{', '.join(map(str, each.extra_items))}",
                hint=f"salt {node} state.apply k3s.firewall",
            )

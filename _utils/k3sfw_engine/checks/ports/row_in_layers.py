"""The verdict on the rows of this node: each in force in every layer, nothing beyond them. Pure.

A row is served if a process listens on its ports, or NAT redirects them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.services_of_node import served_by
from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.model.difference import Difference, Differences, Subject
from k3sfw_engine.model.firewall_objects import PODS_TO_ANY, PODS_TO_HOST, ROWS, ZONE, Kind
from k3sfw_engine.model.listeners import has_listeners, listening_on
from k3sfw_engine.model.node_services import NodeServices
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import is_pod_row
from k3sfw_engine.model.rows import Row
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.policies import by_address
from k3sfw_engine.plan.observed import LAYERS


def check_rows(
    node: str,
    wanted: Desired,
    differences: Differences,
    services: NodeServices,
    explained: Collection[Row] = (),
    *,
    kernel_read: bool,
) -> tuple[Check, ...]:
    """Judge every row of this node by its rules and listeners, and rules beyond the rows.

    The worst verdict comes first.

    differences
        Between what is wanted and what is observed, as in a ``Plan``.
    services
        What listens here, and what Kubernetes serves by NAT instead.
    explained
        Rows that have no listener for a cause that is reported elsewhere.
    kernel_read
        Whether the kernel's rules could be read.
    """
    found = (_check(node, row, wanted, differences, services, kernel_read) for row in wanted.rows)
    checks = [
        check
        for row, check in zip(wanted.rows, found)
        if check.status is not Status.NO_LISTENER or row not in explained
    ]
    checks += _exposed(node, differences)
    return worst_first(checks)


def _check(
    node: str,
    row: Row,
    wanted: Desired,
    differences: Differences,
    services: NodeServices,
    kernel_read: bool,
) -> Check:
    lacking = {
        layer: list(_lacks(row, wanted, (each for each in differences if each.layer == layer)))
        for layer in LAYERS
    }
    out_of_step = [layer for layer in LAYERS if lacking[layer]]
    listens = listening_on(services.listeners, row.protocol, row.ports)
    serving = ", ".join(served_by(row, services))
    by = ""
    if out_of_step:
        status = Status.BLOCKED
        by = f"{node} ({', '.join(out_of_step)})"
        problem = messages.not_in_force(node, [(each, lacking[each][0]) for each in out_of_step])
    elif not kernel_read:
        status, problem = Status.UNPROVEN, messages.kernel_not_read()
    elif has_listeners(row) and not listens and serving:
        status, problem = Status.OK, messages.served_by_redirection(serving)
    elif has_listeners(row) and not serving:
        status, problem = Status.NO_LISTENER, messages.no_listener_here()
    else:
        status, problem = Status.OK, messages.in_force(serving)
    return Check(
        source=", ".join(map(str, row.sources)),
        to=node,
        protocol=row.protocol.value,
        port=",".join(map(str, row.ports)),
        description=row.description or row.name,
        expect="open",
        status=status,
        by=by,
        evidence=problem.text,
        fix=problem.fix,
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
    """The objects that put the row in force, and its rules there, in either form."""
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
    """Whether packets are denied without this setting."""
    if difference.setting == "target":
        return difference.missing_items == ("ACCEPT",)
    return difference.setting not in ("short", "description", "masquerade", "forward")


def _exposed(node: str, differences: Differences) -> Iterator[Check]:
    """Rules and members of our objects that no row asks for."""
    for each in sorted(differences, key=lambda each: LAYERS.index(each.layer)):
        if each.extra_items and (
            isinstance(each.extra, tuple) or each.extra is True or each.extra == "ACCEPT"
        ):
            extra = ", ".join(map(str, each.extra_items))
            problem = messages.beyond_the_rows(node, each.layer, each.title, each.setting, extra)
            yield Check(
                source="",
                to=node,
                protocol=each.title,
                description=each.title,
                expect="closed",
                status=Status.EXPOSED,
                by=f"{node} ({each.layer})",
                evidence=problem.text,
                fix=problem.fix,
            )

"""check_ports on this node: is every row in force in each layer, and does somebody listen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.model.firewall_objects import PODS_TO_ANY, PODS_TO_HOST, ROWS, ZONE
from k3sfw_engine.model.listeners import Listener, listening_on
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.port_ranges import common
from k3sfw_engine.model.row_sources import is_pod_row
from k3sfw_engine.model.rows import Protocol, Row
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.policies import by_address
from k3sfw_engine.plan.observed import LAYERS


def check_rows(
    node: str,
    wanted: Desired,
    changes: Mapping[str, Any],
    listeners: Iterable[Listener],
    redirected: Iterable[Redirection] = (),
    *,
    kernel_read: bool,
) -> tuple[Check, ...]:
    """Judge every row of this node by its own rules and listeners; worst first.

    changes
        The difference between desired and observed, as a ``Plan`` has it.
    redirected
        What Kubernetes serves in the place of a listener.
    kernel_read
        Whether the kernel's rules could be read.
    """
    serving = (tuple(listeners), tuple(redirected))
    checks = [_check(node, row, wanted, changes, serving, kernel_read) for row in wanted.rows]
    checks += _exposed(node, wanted, changes)
    return worst_first(checks)


def _check(
    node: str,
    row: Row,
    wanted: Desired,
    changes: Mapping[str, Any],
    serving: tuple[tuple[Listener, ...], tuple[Redirection, ...]],
    kernel_read: bool,
) -> Check:
    listeners, redirected = serving
    lacking = {layer: list(_lacks(row, wanted, changes.get(layer, {}))) for layer in LAYERS}
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


def _lacks(row: Row, wanted: Desired, differences: Mapping[str, Any]) -> Iterator[str]:
    """What one layer lacks for the row to be in force."""
    if not differences:
        return
    if wanted.pods_by_interface and is_pod_row(row):
        titles = {f"zone {ZONE}", f"policy {PODS_TO_HOST}", f"policy {PODS_TO_ANY}"}
        rules: frozenset[str] = frozenset()
    else:
        own = [each.rule for each in wanted.rules if each.row is row]
        titles = {f"policy {ROWS}", *(f"ipset {rule.ipset}" for rule in own if rule.ipset)}
        instead = (by_address(rule, wanted.objects) for rule in own if rule.ipset)
        rules = frozenset(map(str, own)).union(*instead)
    for title in sorted(titles & set(differences)):
        difference = differences[title]
        if difference.get("old", ...) is None:
            yield f"{title} is missing"
        for setting, change in _settings(difference):
            missing = _listed(change["new"])
            if setting == "rich_rules":
                missing = [rule for rule in missing if rule in rules]
            if missing and _blocks(setting, change["new"]):
                yield f"{title} lacks {setting} {', '.join(map(str, missing))}"


def _blocks(setting: str, new: Any) -> bool:
    """Whether a packet is kept out by the lack of this, rather than let in or left alone."""
    if setting == "target":
        return new in ("ACCEPT", ["ACCEPT"])
    return setting not in ("short", "description", "masquerade", "forward")


def _exposed(node: str, wanted: Desired, changes: Mapping[str, Any]) -> Iterator[Check]:
    """What our objects let in beyond the rows: rules and members that nobody asked for."""
    for layer in LAYERS:
        for title, difference in changes.get(layer, {}).items():
            for setting, change in _settings(difference):
                extra = _listed(change["old"])
                if extra and (isinstance(change["old"], list) or change["old"] in (True, "ACCEPT")):
                    yield Check(
                        source="",
                        to=node,
                        protocol=title,
                        description=title,
                        expect="closed",
                        status=Status.EXPOSED,
                        by=f"{node} ({layer})",
                        evidence=f"{layer}: {title} has {setting} that no row asks for: "
                        f"{', '.join(map(str, extra))}",
                        hint=f"salt {node} state.apply k3s.firewall",
                    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _settings(difference: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The settings of an object that is there and wanted; a whole object has none."""
    for setting, change in difference.items():
        if isinstance(change, Mapping) and set(change) == {"old", "new"}:
            yield setting, change

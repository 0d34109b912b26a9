"""check_ports on this node: is every row in force in each layer, and does somebody listen. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from .desired import (
    PODS_TO_ANY,
    PODS_TO_HOST,
    ROWS,
    ZONE,
    Desired,
    by_address,
    is_pod_row,
)
from .listeners import Listener, listening_on
from .rows import Protocol, Row

LAYERS = ("runtime", "permanent", "kernel")


class PortStatus(str, Enum):
    """What became of one question, worst first."""

    EXPOSED = "exposed"
    BLOCKED = "blocked"
    UNPROVEN = "unproven"
    NO_LISTENER = "no_listener"
    OK = "ok"


_SEVERITY = {
    PortStatus.EXPOSED: "FAIL",
    PortStatus.BLOCKED: "FAIL",
    PortStatus.UNPROVEN: "WARN",
    PortStatus.NO_LISTENER: "WARN",
    PortStatus.OK: "OK",
}
RETCODES: Mapping[str, int] = {"OK": 0, "WARN": 1, "FAIL": 2, "UNKNOWN": 3}


@dataclass(frozen=True)
class PortCheck:
    """One question and its answer."""

    source: str
    to: str
    address: str
    protocol: str
    port: str
    description: str
    expect: str
    status: PortStatus
    by: str
    evidence: str
    hint: str

    def as_row(self) -> dict[str, str]:
        """The flat form in which clients get it."""
        row = {key: str(value) for key, value in asdict(self).items()}
        return {"from": row.pop("source"), **row, "status": self.status.value}


def check_locally(
    node: str,
    wanted: Desired,
    changes: Mapping[str, Any],
    listeners: Iterable[Listener],
    *,
    kernel_read: bool,
) -> tuple[PortCheck, ...]:
    """Judge every row of this node by its own rules and listeners; worst first.

    changes
        The difference between desired and observed, as a ``Plan`` has it.
    kernel_read
        Whether the kernel's rules could be read.
    """
    listeners = tuple(listeners)
    checks = [_check(node, row, wanted, changes, listeners, kernel_read) for row in wanted.rows]
    checks += _exposed(node, wanted, changes)
    order = list(PortStatus)
    return tuple(sorted(checks, key=lambda check: order.index(check.status)))


def report(checks: Iterable[PortCheck], *, full: bool) -> dict[str, Any]:
    """Put the answers into the shape that an operator and a program read."""
    checks = tuple(checks)
    counts = Counter(check.status.value for check in checks)
    order = ["OK", "WARN", "FAIL"]
    worst = max((_SEVERITY[check.status] for check in checks), key=order.index, default="OK")
    result: dict[str, Any] = {
        "status": worst,
        "summary": _summary(counts, len(checks)),
        "problems": list(_problems(checks)),
        "counts": dict(counts),
    }
    if full:
        result["checks"] = [check.as_row() for check in checks]
    return result


def _summary(counts: Mapping[str, int], total: int) -> str:
    parts = [f"{counts.get('ok', 0)} of {total} checks ok"]
    parts += [
        f"{counts[status.value]} {status.value.replace('_', ' ')}"
        for status in PortStatus
        if status is not PortStatus.OK and status.value in counts
    ]
    return f"{', '.join(parts)} (this node only, no packets sent)"


def _problems(checks: Iterable[PortCheck]) -> Iterator[str]:
    """One sentence for each cause, however many rows it concerns."""
    causes: dict[tuple[PortStatus, str, str, str], list[PortCheck]] = {}
    for check in checks:
        if check.status is not PortStatus.OK:
            cause = (check.status, check.to, check.evidence, check.hint)
            causes.setdefault(cause, []).append(check)
    for (status, to, evidence, hint), concerned in causes.items():
        yield f"{status.value} {_flows(concerned)} -> {to}: {evidence}. Mend: {hint}"


def _flows(checks: Iterable[PortCheck]) -> str:
    """``tcp/80 tcp/443 any, tcp/6379 clients``: the ports of each source."""
    ports: dict[str, list[str]] = {}
    for check in checks:
        port = f"{check.protocol}/{check.port}" if check.port else check.protocol
        ports.setdefault(check.source, []).append(port)
    return ", ".join(f"{' '.join(each)} {source}".strip() for source, each in ports.items())


def _check(
    node: str,
    row: Row,
    wanted: Desired,
    changes: Mapping[str, Any],
    listeners: tuple[Listener, ...],
    kernel_read: bool,
) -> PortCheck:
    lacking = {layer: list(_lacks(row, wanted, changes.get(layer, {}))) for layer in LAYERS}
    out_of_step = [layer for layer in LAYERS if lacking[layer]]
    found = listening_on(listeners, row.protocol, row.ports)
    needs_listener = row.protocol in (Protocol.TCP, Protocol.UDP)
    by = ""
    hint = ""
    if out_of_step:
        status = PortStatus.BLOCKED
        by = f"{node} ({', '.join(out_of_step)})"
        evidence = "; ".join(f"{layer}: {lacking[layer][0]}" for layer in out_of_step)
        hint = f"salt {node} state.apply k3s.firewall"
    elif not kernel_read:
        status = PortStatus.UNPROVEN
        evidence = "in force at runtime and permanently; the kernel's rules are not nftables'"
        hint = "set FirewallBackend=nftables in /etc/firewalld/firewalld.conf, restart firewalld"
    elif needs_listener and not found:
        status = PortStatus.NO_LISTENER
        evidence = "in force in every layer, but nobody listens on this node"
        hint = "start the service, or expect it to be served by another address (ServiceLB)"
    else:
        status = PortStatus.OK
        names = ", ".join(sorted({f"{each.process} on {each.port}" for each in found}))
        evidence = f"in force in every layer{f'; listening: {names}' if names else ''}"
    return PortCheck(
        source=", ".join(map(str, row.sources)),
        to=node,
        address="",
        protocol=row.protocol.value,
        port=",".join(map(str, row.ports)),
        description=row.description or row.name,
        expect="open",
        status=status,
        by=by,
        evidence=evidence,
        hint=hint,
    )


def _lacks(row: Row, wanted: Desired, differences: Mapping[str, Any]) -> Iterator[str]:
    """What one layer lacks for the row to be in force."""
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


def _exposed(node: str, wanted: Desired, changes: Mapping[str, Any]) -> Iterator[PortCheck]:
    """What our objects let in beyond the rows: rules and members that nobody asked for."""
    for layer in LAYERS:
        for title, difference in changes.get(layer, {}).items():
            for setting, change in _settings(difference):
                extra = _listed(change["old"])
                if extra and (isinstance(change["old"], list) or change["old"] in (True, "ACCEPT")):
                    yield PortCheck(
                        source="",
                        to=node,
                        address="",
                        protocol=title,
                        port="",
                        description=title,
                        expect="closed",
                        status=PortStatus.EXPOSED,
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

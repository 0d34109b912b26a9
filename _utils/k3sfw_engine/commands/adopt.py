"""The command adopt: close what the source's script opened to everyone and the rows now allow."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.checks.suggested_commands import apply_firewall
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.operator_zone import Zone, read_zone
from k3sfw_engine.host.listeners import ssh_ports
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.difference import titles_by_layer
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import TakeOutOfZone
from k3sfw_engine.plan.superseded_script_rules import Adoptable, AdoptionContext, find_adoptable
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.compare import plan_for
from k3sfw_engine.transaction.refuse_lockout import guard_adoption
from k3sfw_engine.transaction.run import run

_ADOPT = CommitOptions(what="adopt")
_SSH_PORT = 22
_SALT_PORTS = (4505, 4506)
# First what may fail for want of room, while nothing is closed yet.
_ORDER = ("permanent", "runtime")


def adopt(
    tables: Tables,
    role: Role,
    *,
    node: str,
    zone: str | None = None,
    master_ports: Iterable[int] = (),
    options: CommitOptions = _ADOPT,
    test: bool = False,
) -> RunResult:
    """Remove from a zone what the script opened to everyone and the rows now allow.

    node
        The minion id of this node, for the commands that are shown.
    zone
        The zone that the script added to; ``None`` for firewalld's default zone.
    master_ports
        Ports that a Salt master may have here, which are never touched.
    options
        How the change proves itself, besides that our own rules stay in force.
    test
        Touch nothing, and return what would change.

    Raises ``EngineError`` and its kinds, before anything is touched, if our own rules are not
    proven to be in force; ``Undone`` if they are not in force afterwards.
    """
    wanted = compute_desired(tables, role, read_overlay())
    guarded = {
        **dict.fromkeys([*_SALT_PORTS, *master_ports], "it is a port of Salt's master"),
        **dict.fromkeys([_SSH_PORT, *ssh_ports()], "it is a port of ssh"),
    }

    def planner(bus: Bus, observed: Observed) -> Plan:
        own = plan_for(tables, wanted, observed)
        before = read_zone(bus, zone)
        context = AdoptionContext(tables, role, guarded=guarded, services=before.services)
        found = find_adoptable(before.name, before.layers, context)
        return Plan(
            tuple(_steps(before, found)),
            (*own.differences, *found.differences),
            (*own.notices, *found.notices),
            found.access,
        )

    def guard(bus: Bus, observed: Observed, plan: Plan) -> Plan:
        _refuse_unproven(tables, plan_for(tables, wanted, observed), observed, node)
        return guard_adoption(bus, tables, wanted.objects, plan)

    return run(planner, options, test=test, guard=guard)


def _steps(before: Zone, found: Adoptable) -> Iterable[TakeOutOfZone]:
    for layer in _ORDER:
        if found.going[layer]:
            yield TakeOutOfZone(layer, before.layers[layer], found.going[layer])


def _refuse_unproven(tables: Tables, own: Plan, observed: Observed, node: str) -> None:
    """Refuse unless our own rules are in force in every layer, for every node that belongs here."""
    if tables.unsure:
        raise EngineError(
            Problem(
                "nothing is removed, because a node that the tables do not know yet may need what "
                f"is open to everyone: {reason}",
                "see that k3sfw.nodes lists all of them, then adopt again",
            )
            for reason in tables.unsure
        )
    if own.differences:
        raise EngineError(
            Problem(
                f"nothing is removed, because our own rules are not in force: {layer} "
                f"{', '.join(titles)}",
                f"{apply_firewall(node)}; then adopt again",
            )
            for layer, titles in titles_by_layer(own.differences).items()
        )
    if observed.kernel is None:
        raise EngineError(
            [
                Problem(
                    "nothing is removed, because it cannot be proven that our own rules are in "
                    "force: with firewalld's iptables backend the kernel's rules are not read",
                    "set FirewallBackend=nftables in /etc/firewalld/firewalld.conf, restart "
                    "firewalld, then adopt again",
                )
            ]
        )

"""Take over from the source's script: close what the tables have superseded, proven or undone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from k3sfw_engine.checks.suggested_commands import apply_firewall
from k3sfw_engine.errors import EngineError, NotConverged
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.kernel_rules import accepted_by_zone
from k3sfw_engine.firewalld.operator_zone import Zone, has_all, read_zone, take_out, without
from k3sfw_engine.firewalld.permanent import files_of
from k3sfw_engine.firewalld.runtime import snapshot_of
from k3sfw_engine.host.listeners import ssh_ports
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.host.nft_command import list_table
from k3sfw_engine.model.difference import titles_by_layer
from k3sfw_engine.model.firewall_objects import Kind, as_plain, in_order
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.difference import differing_settings
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import LAYERS, Observed
from k3sfw_engine.plan.superseded_script_rules import Adoptable, AdoptionContext, find_adoptable
from k3sfw_engine.standalone.undo.step_log import RUNTIME
from k3sfw_engine.transaction.checkpoint import CommitOptions, checkpoint, make_record
from k3sfw_engine.transaction.compare import compare
from k3sfw_engine.transaction.execute_plan import read_back
from k3sfw_engine.transaction.interrupted import recover
from k3sfw_engine.transaction.journal import PERMANENT, Journal
from k3sfw_engine.transaction.watchdog import WITHIN

_PROOF_IS_ENOUGH = CommitOptions(what="adopt")
_SSH_PORT = 22
_SALT_PORTS = (4505, 4506)


def adopt(
    tables: Tables,
    role: Role,
    *,
    node: str,
    zone: str | None = None,
    master_ports: Iterable[int] = (),
    terms: CommitOptions = _PROOF_IS_ENOUGH,
    test: bool = False,
) -> RunResult:
    """Take away what the source's script opened zone-wide and the tables now cover.

    node
        This node's minion id, for the sentences.
    zone
        The zone that the script added to; ``None`` for firewalld's default zone.
    master_ports
        Ports that a Salt master may have here, which are never touched.
    terms
        How the change proves itself, besides that our own rules stay in force.
    test
        Only tell what would change.

    Raises ``EngineError`` and its kinds, before anything is touched, if our own rules are not
    proven to be in force, and ``Undone`` if they are not any more afterwards.
    """
    with nullcontext() if test else only_one(), Bus() as bus:
        told = () if test else tuple(recover())
        plan, observed = _prove(tables, role, node)
        before = read_zone(bus, zone)
        grounds = AdoptionContext(
            tables,
            role,
            guarded={
                **dict.fromkeys([*_SALT_PORTS, *master_ports], "it is a port of Salt's master"),
                **dict.fromkeys([_SSH_PORT, *ssh_ports()], "it is a port of ssh"),
            },
            services=before.services,
        )
        found = find_adoptable(before.name, before.layers, grounds)
        if found.differences and not test:
            baseline = terms.proof.baseline()
            with _undoable(bus, before, found, observed, terms) as journal:
                _take(bus, journal, before, found)
                read_back(compare(tables, role)[0], LAYERS)
                if broken := terms.proof.broken(baseline):
                    raise NotConverged(broken)
                journal.keep()
    return RunResult(found.differences, (), (*told, *plan.notices, *found.notices), found.access)


def _prove(tables: Tables, role: Role, node: str) -> tuple[Plan, Observed]:
    """The comparison that shows our own rules in force in every layer, for all who belong here."""
    apply_it = f"Fix: {apply_firewall(node)}; then adopt again"
    if tables.unsure:
        raise EngineError(
            f"nothing is taken away, as what is open to everybody lets in whoever the tables do "
            f"not know yet: {reason}. Fix: see that k3sfw.nodes names all of them, then adopt "
            "again"
            for reason in tables.unsure
        )
    plan, observed = compare(tables, role)
    if plan.differences:
        raise EngineError(
            f"nothing is taken away, as our own rules are not in force: {layer} "
            f"{', '.join(titles)}. {apply_it}"
            for layer, titles in titles_by_layer(plan.differences).items()
        )
    if observed.kernel is None:
        raise EngineError(
            [
                "nothing is taken away, as it cannot be proven that our own rules are in force: "
                "with firewalld's iptables backend the kernel's rules are not read. Fix: set "
                "FirewallBackend=nftables in /etc/firewalld/firewalld.conf, restart firewalld, "
                "then adopt again"
            ]
        )
    return plan, observed


def _undoable(
    bus: Bus, before: Zone, found: Adoptable, observed: Observed, terms: CommitOptions
) -> AbstractContextManager[Journal]:
    """All that brings back what is taken, and nothing that somebody else adds meanwhile."""
    runtime = snapshot_of({(Kind.ZONE, before.name): before.layers["runtime"]})
    zone = {key: runtime["zones"][before.name][key] for key in found.going["runtime"]}
    record = make_record(
        bus,
        terms,
        observed,
        differences=found.differences,
        files=files_of([(Kind.ZONE, before.name)]),
        runtime={**runtime, "zones": {before.name: zone}},
    )
    return checkpoint(record, WITHIN)


def _take(bus: Bus, journal: Journal, before: Zone, found: Adoptable) -> None:
    """Take it out of both layers and see that it is gone."""
    journal.note(PERMANENT)
    # First what may fail for want of room, while nothing is closed yet.
    take_out(bus, before.name, "permanent", found.going["permanent"])
    journal.note(RUNTIME)
    take_out(bus, before.name, "runtime", found.going["runtime"])
    _see_it_gone(bus, before, found)


def _see_it_gone(bus: Bus, before: Zone, found: Adoptable) -> None:
    """Nothing of it may be left, and nothing else may be lost; somebody may have added more."""
    now = read_zone(bus, before.name)
    sentences = []
    for layer, zone in before.layers.items():
        going, there = found.going[layer], now.layers[layer]
        wanted = without(zone, going)
        for setting in differing_settings(wanted, there):
            left = [item for item in going.get(setting, ()) if item in there.listed(setting)]
            if left or not has_all(there, wanted, setting):
                found_now = as_plain({setting: there.settings[setting]})[setting]
                sentences.append(
                    f"after the change, {setting} of the {layer} zone {before.name} still differ "
                    f"from what is wanted: {found_now}"
                )
    gone = {item for items in found.going["runtime"].values() for item in items}
    listing = list_table("inet", "firewalld") or b'{"nftables": []}'
    sentences += [
        f"after the change, the kernel still lets {item} in by zone {before.name}. Fix: "
        "firewall-cmd --reload, then adopt again"
        for item in in_order(gone & accepted_by_zone(listing, before.name) - now.also_open)
    ]
    if sentences:
        raise NotConverged(sentences)

"""hostPorts whose rules portmap writes with iptables: find those that are lost, and write them.

Rules of iptables' newer kind are counted over netlink. A program is run only if some are missing,
or if Kubernetes uses the older kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import (
    IPTABLES_LOCK_SECONDS,
    IPTABLES_SAVE_NAT_SECONDS,
    IPTABLES_SECONDS,
)
from k3sfw_engine.host.iptables_programs import Kind, find_iptables, k3s_programs
from k3sfw_engine.host.nft_netlink import NftNetlink
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.host_ports import HostPorts, PodPorts
from k3sfw_engine.model.portmap_rules import (
    ChainRules,
    expected_uses,
    is_lost,
    removal,
    restoration,
)
from k3sfw_engine.standalone.undo.iptables import read_save

_NAMES = {4: "iptables", 6: "ip6tables"}
_LEGACY_TABLES = {4: "proc/net/ip_tables_names", 6: "proc/net/ip6_tables_names"}
_OF_KUBERNETES = ("KUBE-", "CNI-", "FLANNEL-")


@dataclass(frozen=True)
class IptablesNat:
    """iptables' table nat of one family, of the kind that Kubernetes uses."""

    family: int
    kind: Kind
    chains: ChainRules


def are_all_in_iptables(pods: Collection[PodPorts]) -> bool:
    """Whether the kernel has at least as many rules of iptables for these pods as portmap writes.

    It takes microseconds, and knows the newer kind only.
    """
    with NftNetlink() as tables:
        return all(
            tables.uses_of_chain(family, "nat", chain) >= uses
            for family in FAMILIES
            for chain, uses in expected_uses(pods, family).items()
        )


def lost_in_iptables(pods: Collection[PodPorts], root: Path = Path("/")) -> HostPorts:
    """Find the pods that lost rules, and what could not be read."""
    if not pods or are_all_in_iptables(pods):
        return HostPorts()
    found: list[PodPorts] = []
    unread: list[Problem] = []
    for family in _families_of(pods):
        try:
            chains = _read(family, root).chains
        except EngineError as error:
            unread += error.problems
        else:
            found += [pod for pod in pods if is_lost(pod, family, chains)]
    return HostPorts(tuple(pod for pod in pods if pod in found), tuple(unread))


def write_into_iptables(
    lost: Collection[PodPorts], known: Collection[PodPorts], root: Path = Path("/")
) -> Iterator[str]:
    """Write the lost rules of these pods, in one transaction a family; yield why it failed.

    known
        All pods with hostPorts, the oldest first.
    """
    for family in _families_of(lost):
        table = _read(family, root)
        rules = restoration(lost, tuple(known), family, table.chains)
        if rules and (reason := _restore(table, rules)):
            yield reason


def remove_from_iptables(pods: Collection[PodPorts], root: Path = Path("/")) -> None:
    """Remove the rules of these pods, as far as they are there."""
    for family in _families_of(pods):
        table = _read(family, root)
        for rules in removal(pods, family):
            _restore(table, rules)


def _families_of(pods: Collection[PodPorts]) -> list[int]:
    return sorted({family for pod in pods for family in pod.addresses})


def _read(family: int, root: Path) -> IptablesNat:
    """Read iptables' table nat.

    Raises ``EngineError`` if iptables cannot be run.
    """
    found: dict[Kind, ChainRules] = {"nft": _saved("nft", family)}
    try:
        # Listing a table that does not exist would create it.
        if "nat" in (root / _LEGACY_TABLES[family]).read_text().split():
            found["legacy"] = _saved("legacy", family)
    except OSError:
        pass
    kinds = [kind for kind, chains in found.items() if _is_of_kubernetes(chains)]
    kind = kinds[0] if len(kinds) == 1 else _default_kind(family)
    return IptablesNat(family, kind, found.get(kind, {}))


def _restore(table: IptablesNat, rules: str) -> str:
    """Add rules to iptables in one transaction; why it failed, or an empty text."""
    (path, *words) = _program(table.kind, f"{_NAMES[table.family]}-restore")
    process = run_program.start(path, *words, "--noflush", "--wait", str(IPTABLES_LOCK_SECONDS))
    done = run_program.finish(process, IPTABLES_SECONDS, rules.encode())
    if done.timed_out:
        return f"no end within {IPTABLES_SECONDS:.0f} seconds"
    return "" if done.code == 0 else done.reason


def _is_of_kubernetes(chains: ChainRules) -> bool:
    return any(name.startswith(_OF_KUBERNETES) for name in chains)


def _saved(kind: Kind, family: int) -> Mapping[str, tuple[str, ...]]:
    (path, *words) = _program(kind, f"{_NAMES[family]}-save")
    done = run_program.run(path, *words, "-t", "nat", seconds=IPTABLES_SAVE_NAT_SECONDS)
    if done.timed_out or done.code != 0:
        reason = "it does not end" if done.timed_out else done.reason
        raise EngineError([_unreadable(f"{_NAMES[family]}-save fails ({reason})")])
    rules = read_save(done.output.decode(errors="surrogateescape")).rules
    return {chain: found for (_table, chain), found in rules.items()}


def _default_kind(family: int) -> Kind:
    """The kind that the program has which portmap calls."""
    path = run_program.find_program(_NAMES[family], *k3s_programs())
    if path is None:
        return "nft"
    done = run_program.run(path, "--version", seconds=IPTABLES_SAVE_NAT_SECONDS)
    return "nft" if b"nf_tables" in done.output else "legacy"


def _program(kind: Kind, name: str) -> tuple[str, ...]:
    found = find_iptables(kind, name)
    if not found:
        raise EngineError([_unreadable(f"{name} is not installed")])
    return found


def _unreadable(reason: str) -> Problem:
    return Problem(
        f"whether hostPorts of pods are redirected is not known: {reason}",
        "run the minion as root, and install the package iptables",
    )

"""Destination NAT in prerouting on this host: which ports never reach an INPUT rule.

Tables made by nft are read with nft. Tables made by iptables are read with its own programs or
those that K3s brings, and only if such a table exists. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from k3sfw_engine.errors import EngineError, FirewalldUnavailable, Problem
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import IPTABLES_SAVE_NAT_SECONDS
from k3sfw_engine.host.iptables_programs import Kind, find_iptables
from k3sfw_engine.host.nat_iptables import read_iptables_nat
from k3sfw_engine.host.nat_nft import read_nft_nat
from k3sfw_engine.host.nft_command import base_chains, list_table
from k3sfw_engine.model.host_facts import BaseChain
from k3sfw_engine.model.nat import LocalAddresses, NatFacts, Redirection

# Made by iptables: only its programs can list them.
_OF_IPTABLES = {"ip nat": 4, "ip6 nat": 6}
_NOT_NAT = ("inet firewalld", "ip raw", "ip6 raw", "ip mangle", "ip6 mangle")
_LEGACY_TABLES = {4: "proc/net/ip_tables_names", 6: "proc/net/ip6_tables_names"}


def read_redirections(here: LocalAddresses, root: Path = Path("/")) -> NatFacts:
    """Read the destination NAT of all tables, whichever program made them."""
    found: set[Redirection] = set()
    unread: list[Problem] = []
    for read in _readers(here, root, unread):
        try:
            found |= read()
        except EngineError as error:
            unread += error.problems
        except (LookupError, TypeError, ValueError) as error:
            unread.append(Problem(f"a NAT rule of this host cannot be read ({error!r})"))
    return NatFacts(frozenset(found), tuple(dict.fromkeys(unread)))


def _readers(
    here: LocalAddresses, root: Path, unread: list[Problem]
) -> Iterator[Callable[[], frozenset[Redirection]]]:
    try:
        chains = base_chains()
    except EngineError as error:
        unread += error.problems
        chains = ()
    for table in sorted(_redirecting(chains)):
        if table in _OF_IPTABLES:
            yield partial(_saved, "nft", _OF_IPTABLES[table], here)
        else:
            yield partial(_listed, table, here)
    for family, name in _LEGACY_TABLES.items():
        # Listing a table that does not exist would create it.
        if "nat" in _words(root / name):
            yield partial(_saved, "legacy", family, here)


def _listed(table: str, here: LocalAddresses) -> frozenset[Redirection]:
    listing = list_table(*table.split(" ", 1))
    return read_nft_nat(listing, here) if listing else frozenset()


def _redirecting(chains: Iterable[BaseChain]) -> set[str]:
    return {
        chain.table
        for chain in chains
        if chain.hook == "prerouting" and chain.table not in _NOT_NAT
    }


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").split()
    except OSError:
        return []


def _saved(kind: Kind, family: int, here: LocalAddresses) -> frozenset[Redirection]:
    program = "iptables-save" if family == 4 else "ip6tables-save"
    done = run_program.run(
        *find_iptables_save(kind, program), "-t", "nat", seconds=IPTABLES_SAVE_NAT_SECONDS
    )
    if done.timed_out:
        raise FirewalldUnavailable(
            f"{program} did not end within {IPTABLES_SAVE_NAT_SECONDS:.0f} seconds",
            f"see what keeps the kernel's rule set busy, then try {program} -t nat",
        )
    if done.code != 0:
        raise FirewalldUnavailable(
            f"{program} fails ({done.reason}), so the ports that it redirects are not known",
            "run the minion as root",
        )
    return read_iptables_nat(done.output.decode(errors="replace"), family, here)


def find_iptables_save(kind: Kind, program: str) -> tuple[str, ...]:
    """The command that shows the rules of the ``nft`` or of the ``legacy`` kind."""
    found = find_iptables(kind, program)
    if found:
        return found
    raise FirewalldUnavailable(
        f"{program} is not installed, so the ports that iptables' table nat redirects are not "
        "known",
        "install the package iptables",
    )

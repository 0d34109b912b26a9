"""What the kernel redirects in prerouting, read from this host without a shell, nothing changed.

nft's own tables are read with nft. What iptables made, only iptables' programs can tell, those that
K3s brings included; they are asked only where such a table is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from k3sfw_engine.errors import EngineError, FirewalldUnavailable
from k3sfw_engine.host.nat_iptables import read_iptables_nat
from k3sfw_engine.host.nat_nft import read_nft_nat
from k3sfw_engine.host.nft_command import base_chains, list_table
from k3sfw_engine.model.host_facts import BaseChain
from k3sfw_engine.model.nat import LocalAddresses, NatFacts, Redirection

_DEADLINE = 10.0

# iptables' own: only its programs tell what stands in them.
_OF_IPTABLES = {"ip nat": 4, "ip6 nat": 6}
_NOT_NAT = ("inet firewalld", "ip raw", "ip6 raw", "ip mangle", "ip6 mangle")
_LEGACY_TABLES = {4: "proc/net/ip_tables_names", 6: "proc/net/ip6_tables_names"}
# K3s brings its own for hosts that have none.
_AUX = "/var/lib/rancher/k3s/data/current/bin/aux"


def read_redirections(here: LocalAddresses, root: Path = Path("/")) -> NatFacts:
    """Read the rules of all tables that redirect in prerouting, whoever made them."""
    found: set[Redirection] = set()
    unread: list[str] = []
    for read in _readers(here, root, unread):
        try:
            found |= read()
        except EngineError as error:
            unread += error.sentences
        except (LookupError, TypeError, ValueError) as error:
            unread.append(f"a rule of what this host redirects cannot be read ({error!r})")
    return NatFacts(frozenset(found), tuple(dict.fromkeys(unread)))


def _readers(
    here: LocalAddresses, root: Path, unread: list[str]
) -> Iterator[Callable[[], frozenset[Redirection]]]:
    try:
        chains = base_chains()
    except EngineError as error:
        unread += error.sentences
        chains = ()
    for table in sorted(_redirecting(chains)):
        if table in _OF_IPTABLES:
            yield partial(_saved, "nft", _OF_IPTABLES[table], here)
        else:
            yield partial(_listed, table, here)
    for family, name in _LEGACY_TABLES.items():
        # Asking for a table that is not there would make it.
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


def _saved(kind: str, family: int, here: LocalAddresses) -> frozenset[Redirection]:
    program = "iptables-save" if family == 4 else "ip6tables-save"
    command = [*_program(kind, program), "-t", "nat"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    except subprocess.TimeoutExpired as expired:
        raise FirewalldUnavailable(
            f"{program} did not end within {_DEADLINE:.0f} seconds",
            f"see what keeps the kernel's rule set busy, then try {program} -t nat",
        ) from expired
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise FirewalldUnavailable(
            f"{program} fails ({reason}), so what it redirects is not known",
            "run the minion as root",
        )
    return read_iptables_nat(done.stdout.decode(errors="replace"), family, here)


def _program(kind: str, program: str) -> list[str]:
    """The command that shows the rules of ``nft`` or of ``legacy``."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{_AUX}"
    own = program.replace("tables-", f"tables-{kind}-")
    for words in ([own], [f"xtables-{kind}-multi", program], [program]):
        found = shutil.which(words[0], path=path)
        if found:
            return [found, *words[1:]]
    raise FirewalldUnavailable(
        f"{program} is not installed, so what iptables' table nat redirects is not known",
        "install the package iptables",
    )

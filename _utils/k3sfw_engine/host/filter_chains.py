"""How the chains of other firewalls end: their base chains, with what their rules do at the end.

Tables of iptables are read with its own program, others with nft: only the tables that filter
packets and are neither firewalld's nor kube-proxy's, of which a usual node has two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import netaddr

from k3sfw_engine.errors import EngineError, FirewalldUnavailable, Problem
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import IPTABLES_SAVE_NAT_SECONDS
from k3sfw_engine.host.iptables_programs import Kind
from k3sfw_engine.host.nat import find_iptables_save
from k3sfw_engine.host.nft_command import all_chains, base_chains, list_table
from k3sfw_engine.model.filter_chains import ACCEPT, DROP, RETURN, ChainEnd, FilterRule, chain_end
from k3sfw_engine.model.host_facts import BaseChain

_OF_IPTABLES = {"ip filter": 4, "ip6 filter": 6}
_LEGACY_TABLES = {4: "proc/net/ip_tables_names", 6: "proc/net/ip6_tables_names"}
_HOOKS = {"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"}
_JUDGED_HOOKS = ("prerouting", *_HOOKS.values())
# Without a filter that matters here, or with thousands of rules.
_NOT_READ = re.compile(
    r"(inet|ip|ip6) firewalld|(ip|ip6) (nat|mangle|raw|security)|(ip|ip6|inet) kube-proxy"
    r"|inet firewalld_policy_drop|(inet|ip|ip6) cni_hostport"
)

Rules = dict[str, list[FilterRule]]


def read_filter_chains(root: Path = Path("/")) -> tuple[tuple[BaseChain, ...], tuple[Problem, ...]]:
    """Read the base chains of all tables with their ends, and what could not be read.

    Raises ``FirewalldUnavailable`` if nft is missing or fails.
    """
    chains = base_chains()
    unread: list[Problem] = []
    ends: dict[str, Mapping[str, ChainEnd]] = {}
    for table in {chain.table for chain in chains if chain.hook in _JUDGED_HOOKS}:
        if not _NOT_READ.fullmatch(table):
            names = [chain.name for chain in chains if chain.table == table]
            ends[table] = _ends_of(table, unread, names)
    found = [
        replace(chain, end=ends.get(chain.table, {}).get(chain.name, chain.end)) for chain in chains
    ]
    for family, name in _LEGACY_TABLES.items():
        # Listing a table that does not exist would create it.
        if "filter" in _words(root / name):
            found += _legacy(family, unread)
    return tuple(found), tuple(dict.fromkeys(unread))


def read_chain_names(root: Path = Path("/")) -> frozenset[str]:
    """The names of all chains, as ``inet firewalld filter_INPUT``; those of both iptables, too.

    Raises ``FirewalldUnavailable`` if a program for it is missing or fails.
    """
    names = set(all_chains())
    for family, name in _LEGACY_TABLES.items():
        if "filter" in _words(root / name):
            table = f"{'ip' if family == 4 else 'ip6'} filter"
            saved = re.findall(r"^:(\S+)", _saved("legacy", family), re.M)
            names.update(f"{table} {chain}" for chain in saved)
    return frozenset(names)


def _ends_of(table: str, unread: list[Problem], names: Iterable[str]) -> Mapping[str, ChainEnd]:
    try:
        rules = _rules_of(table)
    except EngineError as error:
        unread += error.problems
        return {}
    except (LookupError, TypeError, ValueError) as error:
        unread.append(Problem(f"the table {table} cannot be read ({error!r})"))
        return {}
    return {name: chain_end(rules, name) for name in names}


def _rules_of(table: str) -> Rules:
    if table in _OF_IPTABLES:
        return parse_iptables_filter(_saved("nft", _OF_IPTABLES[table]))
    return parse_nft_filter(list_table(*table.split(" ", 1)) or b'{"nftables": []}')


def _legacy(family: int, unread: list[Problem]) -> Iterator[BaseChain]:
    try:
        saved = _saved("legacy", family)
        rules = parse_iptables_filter(saved)
    except EngineError as error:
        unread += error.problems
        return
    except ValueError as error:
        unread.append(Problem(f"iptables' table filter cannot be read ({error!r})"))
        return
    table = f"{'ip' if family == 4 else 'ip6'} filter (legacy)"
    for name, policy in re.findall(r"^:(INPUT|FORWARD|OUTPUT) (ACCEPT|DROP)", saved, re.M):
        end = chain_end(rules, name)
        yield BaseChain(table, name, _HOOKS[name], policy.lower(), end)


def _saved(kind: Kind, family: int) -> str:
    program = "iptables-save" if family == 4 else "ip6tables-save"
    command = (*find_iptables_save(kind, program), "-t", "filter")
    done = run_program.run(*command, seconds=IPTABLES_SAVE_NAT_SECONDS)
    if done.timed_out or done.code != 0:
        why = "did not end" if done.timed_out else f"fails ({done.reason})"
        raise FirewalldUnavailable(
            f"{program} {why}, so what else rejects packets here is not known",
            "run the minion as root",
        )
    return done.output.decode(errors="replace")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").split()
    except OSError:
        return []


def _network(text: str) -> netaddr.IPNetwork | None:
    try:
        return netaddr.IPNetwork(text)
    except (netaddr.AddrFormatError, ValueError):
        return None  # A set, or a name.


# -- iptables -------------------------------------------------------------------------------------

_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_TARGETS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
# Options that narrow nothing; their value does not, either. (CSF: everything but loopback.)
_WIDE = {"--comment", "--reject-with", "--log-prefix", "--log-level"}
_EXCEPT_LOOPBACK = ("!", "-i", "lo")


def parse_iptables_filter(saved: str) -> Rules:
    """Parse what ``iptables-save -t filter`` printed."""
    rules: Rules = {}
    for line in saved.splitlines():
        if line.startswith(":"):
            rules.setdefault(line[1:].partition(" ")[0], [])
        elif line.startswith("-A "):
            _append, chain, *words = _WORDS.findall(line)
            rules.setdefault(chain, []).append(_rule_of_iptables(words))
    return rules


def _rule_of_iptables(words: list[str]) -> FilterRule:
    target, narrow = "", False
    networks: dict[str, netaddr.IPNetwork] = {}
    at = 0
    while at < len(words):
        word, value = words[at], words[at + 1] if at + 1 < len(words) else ""
        if tuple(words[at : at + 3]) == _EXCEPT_LOOPBACK:
            at += 3
            continue
        if word in ("-j", "-g"):
            target = _TARGETS.get(value, value)
        elif word in ("-s", "-d") and (network := _network(value)):
            networks[word] = network
        elif word not in _WIDE and (word, value) != ("-m", "comment"):
            narrow = True
        at += 2
    return FilterRule(target, networks.get("-s"), networks.get("-d"), narrow)


# -- nftables -------------------------------------------------------------------------------------

_STATEMENTS = {"counter", "log", "comment"}
_FIELDS = {"saddr": "source", "daddr": "destination"}


def parse_nft_filter(listing: str | bytes) -> Rules:
    """Parse what ``nft -j list table`` printed."""
    rules: Rules = {}
    for item in json.loads(listing)["nftables"]:
        if "chain" in item:
            rules.setdefault(item["chain"]["name"], [])
        elif "rule" in item:
            rule = _rule_of_nft(item["rule"].get("expr", ()))
            rules.setdefault(item["rule"]["chain"], []).append(rule)
    return rules


def _rule_of_nft(expressions: Iterable[Mapping[str, Any]]) -> FilterRule:
    target, narrow = "", False
    networks: dict[str, netaddr.IPNetwork] = {}
    for expression in expressions:
        for kind, value in expression.items():
            if kind in (ACCEPT, DROP, RETURN):
                target = kind
            elif kind == "reject":
                target = DROP
            elif kind in ("jump", "goto"):
                target = value["target"]
            elif kind == "match" and (found := _network_of_nft(value)):
                networks[found[0]] = found[1]
            elif kind not in _STATEMENTS:
                narrow = True
    return FilterRule(target, networks.get("source"), networks.get("destination"), narrow)


def _network_of_nft(match: Mapping[str, Any]) -> tuple[str, netaddr.IPNetwork] | None:
    """The network that a match asks for; None if it asks for anything else."""
    left, right = match.get("left"), match.get("right")
    payload = left.get("payload") if isinstance(left, dict) else None
    field = _FIELDS.get(payload.get("field", "")) if isinstance(payload, dict) else None
    if field is None or match.get("op") != "==":
        return None
    prefix = right.get("prefix") if isinstance(right, dict) else None
    text = f"{prefix['addr']}/{prefix['len']}" if isinstance(prefix, dict) else right
    network = _network(text) if isinstance(text, str) else None
    return None if network is None else (field, network)

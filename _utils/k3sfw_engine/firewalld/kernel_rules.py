"""What the kernel holds of our objects: firewalld's nft table, read as a set of facts.

firewalld answers from its memory, where a rule that was removed with nft still exists.
``plan/kernel_drift.py`` compares these facts with what the runtime objects must have made. The one
change made here is to create the tables again, empty, where they were lost.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from types import TracebackType
from typing import Any

from k3sfw_engine.host.nft_command import finish_nft, list_table, nft_failure, start_nft
from k3sfw_engine.model.firewall_objects import PREFIX, Item, Kind
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import WHOLE_PROTOCOLS, PortRange, Protocol
from k3sfw_engine.plan.kernel_drift import ANY, SOMETIMES, KernelFact, KernelRules

# The chains that every version of firewalld makes for a policy and for a zone. How packets reach
# them differs (1.3, 2.3 and 2.5 do it in three ways), so the jumps are followed.
# https://github.com/firewalld/firewalld/blob/main/src/firewall/core/nftables.py
_POLICY_CHAIN = re.compile(
    rf"filter_(?:IN|FWD)_policy_({PREFIX}[^_]*)(_pre|_log|_deny|_allow|_post)?\Z"
)
_ZONE_CHAIN = re.compile(rf"filter_IN_({PREFIX}[^_]*)\Z")
# Up to 1.1 each accepting rule asks for this too, although all others are accepted before.
_NEW = frozenset({"new", "untracked"})


# -- what the kernel holds ------------------------------------------------------------------------


def parse_nft_listing(listing: str | bytes) -> KernelRules:
    """Read ``nft -j -p list table inet firewalld`` into facts about our objects."""
    items = json.loads(listing)["nftables"]
    rules = [item["rule"] for item in items if "rule" in item]
    chains = [item["chain"] for item in items if "chain" in item]
    ways = _Jumps(
        hooks=frozenset(chain["name"] for chain in chains if "hook" in chain),
        callers=_callers(rules),
    )
    into = cache(ways.into)
    sets = [item["set"] for item in items if "set" in item]
    facts: list[KernelFact] = []
    for chain in chains:
        facts += _entrance_facts(chain["name"], into)
    met: set[tuple[str, KernelFact]] = set()
    for rule in rules:
        for fact in _rule_facts(rule["chain"], rule["expr"], into):
            # A firewalld that starts after one was killed adds all of its rules a second time, and
            # removes only one of each pair.
            again = (rule["chain"], fact) in met
            met.add((rule["chain"], fact))
            facts.append(replace(fact, value=f"{fact.value} once more") if again else fact)
    return KernelRules(
        frozenset(facts),
        {
            name: frozenset(map(_address, each.get("elem", ())))
            for each in sets
            if (name := str(each["name"])).startswith(PREFIX)
        },
    )


def accepted_by_zone(listing: str | bytes, zone: str) -> frozenset[Item]:
    """What a zone accepts: a port such as ``6443/tcp`` from every source, or a rich rule."""
    rules = [item["rule"] for item in json.loads(listing)["nftables"] if "rule" in item]
    return frozenset(
        _port_text(rule["expr"]) or _rule_of(rule["expr"])
        for rule in rules
        if rule["chain"] == f"filter_IN_{zone}_allow"
    )


def _port_text(expressions: list[Mapping[str, Any]]) -> str:
    """The port that such an nft rule opens to every source, or an empty text."""
    # Older versions open it to new connections only, which is the same.
    matches = [
        each["match"] for each in _conditions(expressions) if "ct" not in each["match"]["left"]
    ]
    if len(matches) == 1 and "accept" in expressions[-1]:
        parts = _match_parts(matches[0]["left"], matches[0]["right"])
        if "port" in parts and not parts["source_port"]:
            return f"{parts['port']}/{parts['protocol'].value}"
    return ""


@dataclass(frozen=True)
class _Jumps:
    """The hooks where packets start; for each chain, the chains that call it and the conditions."""

    hooks: frozenset[str]
    callers: Mapping[str, list[tuple[str, frozenset[str]]]]

    def into(self, chain: str) -> frozenset[str]:
        """Return the interfaces whose packets reach the chain; ``any`` stands for all of them."""
        found: set[str] = set()
        seen: set[tuple[str, frozenset[str]]] = set()
        ahead = [(chain, frozenset[str]())]
        while ahead:
            state = ahead.pop()
            if state in seen:
                continue
            seen.add(state)
            at, condition = state
            if at in self.hooks:
                found |= condition or {ANY}
            ahead += [(caller, condition | more) for caller, more in self.callers.get(at, ())]
        return frozenset(found)


_Into = Callable[[str], frozenset[str]]


def _callers(
    rules: Iterable[Mapping[str, Any]],
) -> dict[str, list[tuple[str, frozenset[str]]]]:
    callers: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for rule in rules:
        conditions = [
            _interfaces(expression["match"]) or [SOMETIMES]
            for expression in rule["expr"]
            if "match" in expression
        ]
        names = frozenset(name for each in conditions for name in each)
        for target in filter(None, map(_target, rule["expr"])):
            callers.setdefault(target, []).append((rule["chain"], names))
    return callers


def _target(expression: Mapping[str, Any]) -> str:
    step = expression.get("jump") or expression.get("goto") or {}
    return str(step.get("target", ""))


def _interfaces(match: Mapping[str, Any]) -> list[str]:
    """The interfaces that a match names, if it is about interfaces."""
    if match["left"].get("meta", {}).get("key") not in ("iifname", "oifname"):
        return []
    names = match["right"]
    return list(names["set"]) if isinstance(names, dict) else [names]


def _entrance_facts(chain: str, into: _Into) -> Iterator[KernelFact]:
    policy, zone = _POLICY_CHAIN.match(chain), _ZONE_CHAIN.match(chain)
    if policy and not policy[2]:
        own = (Kind.POLICY, policy[1])
    elif zone:
        own = (Kind.ZONE, zone[1])
    else:
        return
    for entrance in into(chain) - {SOMETIMES}:
        yield KernelFact(*own, "entered by", entrance)


def _rule_facts(
    chain: str, expressions: list[Mapping[str, Any]], into: _Into
) -> Iterator[KernelFact]:
    own = _POLICY_CHAIN.match(chain)
    # A chain without a jump to it does nothing.
    if own is None or not into(chain):
        return
    if own[2]:
        yield KernelFact(Kind.POLICY, own[1], "rich_rules", _rule_of(expressions))
    elif [*expressions[-1]] == ["accept"] and not _conditions(expressions):
        yield KernelFact(Kind.POLICY, own[1], "target", "ACCEPT")
    elif not _POLICY_CHAIN.match(_target(expressions[-1])):
        yield KernelFact(Kind.POLICY, own[1], "rich_rules", _rule_of(expressions))


def _conditions(expressions: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [expression for expression in expressions if "match" in expression]


def _rule_of(expressions: list[Mapping[str, Any]]) -> RichRule | str:
    """The rich rule that makes such an nft rule, or the nft rule itself as JSON."""
    parts: dict[str, Any] = {}
    for expression in expressions:
        if "match" in expression and expression["match"]["op"] == "==":
            parts.update(_match_parts(expression["match"]["left"], expression["match"]["right"]))
        elif "accept" in expression:
            parts["verdict"] = "accept"
        elif "counter" not in expression:
            parts["other"] = True
    verdict = parts.pop("verdict", None)
    try:
        if verdict == "accept":
            return RichRule(**parts)
    except TypeError:
        pass  # A part that no rule of ours has: shown as nft lists it.
    return json.dumps(expressions, sort_keys=True)


def _match_parts(left: Mapping[str, Any], right: Any) -> dict[str, Any]:
    payload = left.get("payload", {})
    protocol, field = payload.get("protocol"), payload.get("field")
    if protocol in ("ip", "ip6") and field == "saddr":
        source = _address(right)
        by = {"ipset": source[1:]} if source.startswith("@") else {"address": source}
        return {"family": 4 if protocol == "ip" else 6, **by}
    if protocol in ("ip", "ip6") and field == "daddr":
        return {"family": 4 if protocol == "ip" else 6, "destination": _address(right)}
    if protocol in ("tcp", "udp", "sctp") and field in ("dport", "sport"):
        ports = right.get("range") if isinstance(right, dict) else [right, right]
        if ports:
            return {
                "protocol": Protocol(protocol),
                "port": PortRange(*ports),
                "source_port": field == "sport",
            }
    if left.get("ct", {}).get("key") == "state" and _names(right) == _NEW:
        return {}
    meta = left.get("meta", {}).get("key")
    if meta == "nfproto":
        return {"family": 4 if right == "ipv4" else 6}
    if meta == "l4proto" and isinstance(right, int) and right in WHOLE_PROTOCOLS:
        return {"protocol": protocol_of_number(right)}
    return {"other": True}


def _names(right: Any) -> frozenset[str]:
    """The values that a match compares with, if they are names."""
    values = right.get("set", ()) if isinstance(right, dict) else right
    values = values if isinstance(values, list) else [values]
    return frozenset(value for value in values if isinstance(value, str))


def _address(element: Any) -> str:
    """Return an address, a prefix, a range or a set's name as text."""
    if isinstance(element, dict):
        if "prefix" in element:
            return f"{element['prefix']['addr']}/{element['prefix']['len']}"
        if "range" in element:
            return "-".join(element["range"])
        if "elem" in element:
            return _address(element["elem"]["val"])
    return str(element)


_TABLE = ("inet", "firewalld")
# Protocols by number: their names are those of the host's /etc/protocols, if it has one.
_LIST = ("--json", "--numeric-protocol", "list")


class Listing:
    """A listing by nft that runs beside calls to firewalld. Use it as a context manager."""

    def __init__(self, ipsets: Iterable[str] = ()) -> None:
        """Start nft for these ipsets, or without any for the whole table."""
        # One nft for each: of several commands, nft 1.0.6 finds only the set of the last one.
        self._processes = [start_nft(*_LIST, "set", *_TABLE, name) for name in ipsets] or [
            start_nft(*_LIST, "table", *_TABLE)
        ]
        self._beside = ThreadPoolExecutor(max_workers=1)
        self._rules = self._beside.submit(self._read)

    def __enter__(self) -> Listing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        self._beside.shutdown()

    def rules(self) -> KernelRules:
        """Return what the kernel holds of our objects."""
        return self._rules.result()

    def _read(self) -> KernelRules:
        read = [self._read_one(process) for process in self._processes]
        return KernelRules(
            frozenset().union(*(each.facts for each in read)),
            {name: entries for each in read for name, entries in each.ipsets.items()},
            all(each.table for each in read),
        )

    @staticmethod
    def _read_one(process: subprocess.Popen[bytes]) -> KernelRules:
        done = finish_nft(process)
        if done.code == 0:
            return parse_nft_listing(done.output)
        if b"No such file or directory" in done.errors:
            return KernelRules(table=False)
        raise nft_failure("list the kernel's rules", done.errors)


# 0.9 has its NAT in two tables more.
_OLDER_FAMILIES = ("ip", "ip6")


def restore_tables() -> None:
    """Create every table that a firewalld may have, empty, after ``nft flush ruleset``.

    A reload begins by deleting its tables, and fails if there is none (seen on 0.9.11 and 1.3.3).
    """
    families = (_TABLE[0], *_OLDER_FAMILIES)
    _change_tables("make", [f"add table {family} {_TABLE[1]}" for family in families])


def remove_unused_tables() -> None:
    """Delete those of the older tables that the reload has not filled."""
    listed = {family: list_table(family, _TABLE[1]) for family in _OLDER_FAMILIES}
    unused = [
        family
        for family, listing in listed.items()
        if listing and not any("chain" in item for item in json.loads(listing)["nftables"])
    ]
    if unused:
        _change_tables("delete", [f"delete table {family} {_TABLE[1]}" for family in unused])


def _change_tables(what: str, commands: Iterable[str]) -> None:
    done = finish_nft(start_nft("; ".join(commands)))
    if done.code != 0:
        raise nft_failure(f"{what} the tables of firewalld", done.errors)

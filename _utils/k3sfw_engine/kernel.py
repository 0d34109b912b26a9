"""What the kernel must hold of our runtime objects, and what it does hold. Pure.

firewalld answers from its memory; a rule that somebody removed with nft is still there for it. So
both sides are put down as facts, one for each thing that a packet meets, and compared as sets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import netaddr

from .bindings import Bindings
from .objects import (
    DEFAULTS,
    PREFIX,
    FirewalldObject,
    Kind,
    Objects,
    RichRule,
    is_rich_rule_of_ours,
)
from .rows import PortRange, Protocol

# The chains that firewalld makes of a policy and of a zone, in every version. How packets get into
# them changes from version to version (1.3, 2.3 and 2.5 do it in three ways), so that is followed
# and not known.
# https://github.com/firewalld/firewalld/blob/main/src/firewall/core/nftables.py
_POLICY_CHAIN = re.compile(
    rf"filter_(?:IN|FWD)_policy_({PREFIX}[^_]*)(_pre|_log|_deny|_allow|_post)?\Z"
)
_ZONE_CHAIN = re.compile(rf"filter_IN_({PREFIX}[^_]*)\Z")

ANY = "any"
_SOMETIMES = "on some condition"

# Respects in which the kernel must hold no more than it should; more ways in are firewalld's own.
_EXACT = ("entries", "rich_rules", "target")


@dataclass(frozen=True, order=True)
class Fact:
    """One thing that a packet meets: of which object, in which respect, and its value."""

    kind: Kind
    name: str
    respect: str
    value: str


@dataclass(frozen=True)
class KernelRules:
    """What the kernel holds of our objects; ``table`` tells whether firewalld's table is there."""

    facts: frozenset[Fact] = frozenset()
    table: bool = True

    @property
    def ipsets(self) -> frozenset[str]:
        """The names of the ipsets that are there."""
        return frozenset(fact.name for fact in self.facts if fact.respect == "ipset")

    def with_ipsets(self, names: Collection[str], read: KernelRules) -> KernelRules:
        """The same with these ipsets as they were read later."""
        others = (
            fact for fact in self.facts if fact.kind is not Kind.IPSET or fact.name not in names
        )
        return replace(self, facts=read.facts.union(others))


@dataclass(frozen=True)
class Drift:
    """Where the kernel differs from firewalld's runtime."""

    missing: frozenset[Fact]
    extra: frozenset[Fact]

    @property
    def names(self) -> frozenset[str]:
        """The objects that differ in any respect."""
        return frozenset(fact.name for fact in self.missing | self.extra)

    @property
    def ipsets(self) -> frozenset[str]:
        """The ipsets that exist with other entries than they should."""
        return frozenset(
            fact.name for fact in self.missing | self.extra if fact.respect == "entries"
        )

    @property
    def rules(self) -> bool:
        """Whether anything but the entries of an ipset differs."""
        return any(fact.respect != "entries" for fact in self.missing | self.extra)

    def differences(self) -> dict[str, dict[str, dict[str, list[str]]]]:
        """``{object: {respect: {"old": […], "new": […]}}}``."""
        found: dict[str, dict[str, dict[str, list[str]]]] = {}
        for side, facts in (("old", self.extra), ("new", self.missing)):
            for fact in sorted(facts):
                respects = found.setdefault(f"{fact.kind.value} {fact.name}", {})
                respects.setdefault(fact.respect, {"old": [], "new": []})[side].append(fact.value)
        return found


def kernel_drift(
    kernel: KernelRules | None, runtime: Objects, bindings: Bindings | None = None
) -> Drift:
    """Compare the kernel's rules with what the runtime objects must have made there.

    kernel
        ``None`` if the kernel's rules are not known; then nothing is said to differ.
    bindings
        Of the zones of others at runtime, which policies of ours can name.
    """
    if kernel is None:
        return Drift(frozenset(), frozenset())
    expected = frozenset(_expected(runtime, bindings or Bindings()))
    explained = _with_rules_of_others(runtime)
    drift = Drift(
        expected - kernel.facts,
        frozenset(
            fact
            for fact in kernel.facts - expected
            if fact.respect in _EXACT
            and (fact.kind, fact.name) in runtime
            and fact.name not in explained
        ),
    )
    same = _same_addresses(drift)
    return Drift(
        frozenset(fact for fact in drift.missing if fact.name not in same),
        frozenset(fact for fact in drift.extra if fact.name not in same),
    )


def _with_rules_of_others(runtime: Objects) -> frozenset[str]:
    """Policies to which somebody added what we never make: the kernel rightly has more of them."""
    return frozenset(
        name
        for (kind, name), each in runtime.items()
        if kind is Kind.POLICY
        and (
            any(not is_rich_rule_of_ours(rule) for rule in each.items("rich_rules"))
            or any(
                each.settings[setting] != empty
                for setting, empty in DEFAULTS[kind].items()
                if isinstance(empty, (tuple, bool))
                and setting not in ("rich_rules", "ingress_zones", "egress_zones")
            )
        )
    )


def _same_addresses(drift: Drift) -> frozenset[str]:
    """ipsets that hold the same addresses, though the kernel joined neighbours into a range."""

    def addresses(facts: Iterable[Fact], name: str) -> netaddr.IPSet:
        return netaddr.IPSet(
            network
            for fact in facts
            if fact.name == name and fact.respect == "entries"
            for network in _networks(fact.value)
        )

    return frozenset(
        name
        for name in drift.ipsets
        if addresses(drift.missing, name) == addresses(drift.extra, name)
    )


def _networks(text: str) -> list[netaddr.IPNetwork]:
    first, dash, last = text.partition("-")
    return netaddr.iprange_to_cidrs(first, last) if dash else [netaddr.IPNetwork(first)]


# -- what the runtime objects must have made ------------------------------------------------------


def _expected(runtime: Objects, bindings: Bindings) -> Iterator[Fact]:
    for (kind, name), each in runtime.items():
        if kind is Kind.IPSET:
            yield Fact(kind, name, "ipset", "exists")
            for text in each.items("entries"):
                yield Fact(kind, name, "entries", text)
        elif kind is Kind.ZONE:
            for interface in each.items("interfaces"):
                yield Fact(kind, name, "entered by", interface)
        else:
            yield from _expected_of_policy(each, runtime, bindings)


def _expected_of_policy(
    policy: FirewalldObject, runtime: Objects, bindings: Bindings
) -> Iterator[Fact]:
    sides = [set(policy.items(setting)) for setting in ("ingress_zones", "egress_zones")]
    named = [zones for zones in sides if zones.isdisjoint(("ANY", "HOST"))]
    entrances: list[str] = []
    for zones in named:
        interfaces, active = _entrances(zones, runtime, bindings)
        if not active:
            return  # firewalld makes no chains of a policy whose zones are not in use.
        entrances += interfaces
    for entrance in entrances if named else [ANY]:
        yield Fact(Kind.POLICY, policy.name, "entered by", entrance)
    for rule in filter(is_rich_rule_of_ours, policy.items("rich_rules")):
        yield Fact(Kind.POLICY, policy.name, "rich_rules", rule)
    if policy.settings["target"] == "ACCEPT":
        yield Fact(Kind.POLICY, policy.name, "target", "ACCEPT")


def _entrances(
    zones: Iterable[str], runtime: Objects, bindings: Bindings
) -> tuple[list[str], bool]:
    """The interfaces of the zones, and whether any of the zones is bound to anything."""
    interfaces: list[str] = []
    active = False
    for zone in sorted(zones):
        ours = runtime.get((Kind.ZONE, zone))
        found = ours.items("interfaces") if ours else bindings.interfaces_of(zone)
        # The kernel writes a wildcard otherwise, and it may stand for none.
        interfaces += [name for name in found if not name.endswith("+")]
        active = active or bool(found) or (not ours and bindings.is_active(zone))
    return interfaces, active


# -- what the kernel holds ------------------------------------------------------------------------


def read_nft(listing: str | bytes) -> KernelRules:
    """Turn ``nft -j list table inet firewalld`` into facts about our objects."""
    items = json.loads(listing)["nftables"]
    rules = [item["rule"] for item in items if "rule" in item]
    chains = [item["chain"] for item in items if "chain" in item]
    ways = _Ways(
        hooks=frozenset(chain["name"] for chain in chains if "hook" in chain),
        callers=_callers(rules),
    )
    into = cache(ways.into)
    facts = [fact for item in items if "set" in item for fact in _set_facts(item["set"])]
    for chain in chains:
        facts += _entrance_facts(chain["name"], into)
    met: set[tuple[str, Fact]] = set()
    for rule in rules:
        for fact in _rule_facts(rule["chain"], rule["expr"], into):
            # A firewalld that starts after one was killed adds all of its rules once more, and
            # takes away only one of the two.
            again = (rule["chain"], fact) in met
            met.add((rule["chain"], fact))
            facts.append(replace(fact, value=f"{fact.value} once more") if again else fact)
    return KernelRules(frozenset(facts))


def accepted_by_zone(listing: str | bytes, zone: str) -> frozenset[str]:
    """What a zone lets in: ``6443/tcp`` from everybody, or the text of a rich rule."""
    rules = [item["rule"] for item in json.loads(listing)["nftables"] if "rule" in item]
    return frozenset(
        _port_text(rule["expr"]) or _rule_text(rule["expr"])
        for rule in rules
        if rule["chain"] == f"filter_IN_{zone}_allow"
    )


def _port_text(expressions: list[Mapping[str, Any]]) -> str:
    """The port that such an nft rule opens to everybody, if that is what it does."""
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
class _Ways:
    """Where packets start, and from where and on which condition a chain is entered."""

    hooks: frozenset[str]
    callers: Mapping[str, list[tuple[str, frozenset[str]]]]

    def into(self, chain: str) -> frozenset[str]:
        """The interfaces by which a packet gets into the chain, ``any`` for whatever interface."""
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
            _interfaces(expression["match"]) or [_SOMETIMES]
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


def _set_facts(nft_set: Mapping[str, Any]) -> Iterator[Fact]:
    name = str(nft_set["name"])
    if name.startswith(PREFIX):
        yield Fact(Kind.IPSET, name, "ipset", "exists")
        for element in nft_set.get("elem", ()):
            yield Fact(Kind.IPSET, name, "entries", _address(element))


def _entrance_facts(chain: str, into: _Into) -> Iterator[Fact]:
    policy, zone = _POLICY_CHAIN.match(chain), _ZONE_CHAIN.match(chain)
    if policy and not policy[2]:
        own = (Kind.POLICY, policy[1])
    elif zone:
        own = (Kind.ZONE, zone[1])
    else:
        return
    for entrance in into(chain) - {_SOMETIMES}:
        yield Fact(*own, "entered by", entrance)


def _rule_facts(chain: str, expressions: list[Mapping[str, Any]], into: _Into) -> Iterator[Fact]:
    own = _POLICY_CHAIN.match(chain)
    # A chain that nothing jumps to any more does nothing.
    if own is None or not into(chain):
        return
    if own[2]:
        yield Fact(Kind.POLICY, own[1], "rich_rules", _rule_text(expressions))
    elif [*expressions[-1]] == ["accept"] and not _conditions(expressions):
        yield Fact(Kind.POLICY, own[1], "target", "ACCEPT")
    elif not _POLICY_CHAIN.match(_target(expressions[-1])):
        yield Fact(Kind.POLICY, own[1], "rich_rules", _rule_text(expressions))


def _conditions(expressions: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [expression for expression in expressions if "match" in expression]


def _rule_text(expressions: list[Mapping[str, Any]]) -> str:
    """The rich rule that makes such an nft rule, or the nft rule itself if it is none of ours."""
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
            return str(RichRule(**parts))
    except TypeError:
        pass  # A part that no rule of ours has: shown as it stands in the kernel.
    return json.dumps(expressions, sort_keys=True)


def _match_parts(left: Mapping[str, Any], right: Any) -> dict[str, Any]:
    payload = left.get("payload", {})
    protocol, field = payload.get("protocol"), payload.get("field")
    if protocol in ("ip", "ip6") and field == "saddr":
        source = _address(right)
        by = {"ipset": source[1:]} if source.startswith("@") else {"address": source}
        return {"family": 4 if protocol == "ip" else 6, **by}
    if protocol in ("tcp", "udp", "sctp") and field in ("dport", "sport"):
        ports = right.get("range") if isinstance(right, dict) else [right, right]
        if ports:
            return {
                "protocol": Protocol(protocol),
                "port": PortRange(*ports),
                "source_port": field == "sport",
            }
    if left.get("meta", {}).get("key") == "nfproto":
        return {"family": 4 if right == "ipv4" else 6}
    return {"other": True}


def _address(element: Any) -> str:
    """An address, a prefix, a range or a set's name, as text."""
    if isinstance(element, dict):
        if "prefix" in element:
            return f"{element['prefix']['addr']}/{element['prefix']['len']}"
        if "range" in element:
            return "-".join(element["range"])
        if "elem" in element:
            return _address(element["elem"]["val"])
    return str(element)

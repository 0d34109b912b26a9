"""The rules that a reload or a start of firewalld flushed out of iptables, and how they come back.

firewalld before 2.0 flushes all tables of iptables, whatever made the rules in them. The rules of
kube-proxy and flannel come back within a minute; those of a pod's hostPort, and with them
ServiceLB's, come back only with a new pod or by ``healing/lost_host_ports``.
https://github.com/rancher/rke2/issues/10469
"""

import contextlib
import os
import re
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from .defaults import IPTABLES_LOCK
from .files import content_of, keep_for_later
from .run_program import run_program

# The chains that firewalld itself makes in iptables: for direct rules, and with its iptables
# backend for everything.
_FIREWALLD = re.compile(
    r"(INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING|IN|OUT|FWD[IO]?|PRE|POST)_\S+\Z"
)
_TARGET = re.compile(r" -[jg] (\S+)")

Chain = Tuple[str, str]


class IptablesRules(NamedTuple):
    """All tables of one family: the policy of each built-in chain, and the rules of each chain."""

    policies: Mapping[Chain, str]
    rules: Mapping[Chain, Tuple[str, ...]]


def read_save(text: str) -> IptablesRules:
    """Read the output of iptables-save."""
    policies: Dict[Chain, str] = {}
    rules: Dict[Chain, List[str]] = {}
    table = ""
    for line in text.splitlines():
        first, _, rest = line.partition(" ")
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            policy = rest.split(" ")[0]
            rules.setdefault((table, first[1:]), [])
            if policy != "-":
                policies[table, first[1:]] = policy
        elif first == "-A":
            chain, _, rule = rest.partition(" ")
            rules.setdefault((table, chain), []).append(rule)
    return IptablesRules(policies, {chain: tuple(each) for chain, each in rules.items()})


def restoration(before: IptablesRules, after: IptablesRules) -> str:
    """The input for ``iptables-restore --noflush`` that restores the rules of others.

    Empty if none is lost. A chain that exists again was made by its owner meanwhile, which knows
    better what belongs into it.
    """
    lines: List[str] = []
    for table in sorted({table for table, _chain in before.rules}):
        chains = [chain for of, chain in before.rules if of == table and not _is_firewallds(chain)]
        built_in = [chain for chain in chains if (table, chain) in before.policies]
        owned = frozenset(chains).difference(built_in)
        gone = [chain for chain in chains if chain in owned and (table, chain) not in after.rules]
        changes = [f":{chain} - [0:0]" for chain in gone]
        changes += _policies(table, built_in, before, after)
        changes += [f"-A {chain} {rule}" for chain in gone for rule in before.rules[table, chain]]
        # With its iptables backend, rules of firewalld's own stand among those of others.
        shared = any(
            of == table and _is_firewallds(chain) and not chain.endswith("_direct")
            for of, chain in before.rules
        )
        for chain in built_in:
            rules = before.rules[table, chain]
            theirs = [rule for rule in rules if _is_of_others(rule, owned, shared=shared)]
            changes += _insertions(chain, rules, theirs, after.rules.get((table, chain), ()))
        if changes:
            lines += [f"*{table}", *changes, "COMMIT"]
    return "".join(f"{line}\n" for line in lines)


def _policies(
    table: str, chains: Iterable[str], before: IptablesRules, after: IptablesRules
) -> Iterator[str]:
    for chain in chains:
        policy = before.policies.get((table, chain))
        if policy and policy != after.policies.get((table, chain), "ACCEPT"):
            yield f":{chain} {policy} [0:0]"


def _insertions(
    chain: str, before: Sequence[str], theirs: Sequence[str], after: Iterable[str]
) -> Iterator[str]:
    """Insert each lost rule of others into a built-in chain, in its old place among the rest."""
    there = list(after)
    place = 0
    for rule in before:
        while place < len(there) and there[place] not in before:
            place += 1  # It was not there before.
        if place < len(there) and there[place] == rule:
            place += 1
        # Its owner may have added it again, elsewhere.
        elif rule in theirs and there.count(rule) < before.count(rule):
            there.insert(place, rule)
            place += 1
            yield f"-I {chain} {place} {rule}"


def _is_of_others(rule: str, owned: FrozenSet[str], *, shared: bool) -> bool:
    """Whether something other than firewalld made a rule.

    shared
        Whether firewalld has rules of its own in that table; then only a jump to a chain of others
        is surely theirs.
    """
    targets = _TARGET.findall(f" {rule}")
    if shared:
        return any(target in owned for target in targets)
    return not any(_is_firewallds(target) for target in targets)


def _is_firewallds(chain: str) -> bool:
    return _FIREWALLD.match(chain) is not None


# -- the undo program's own reload ----------------------------------------------------------------

FAMILIES = ("iptables", "ip6tables")


def save_iptables(folder: str) -> Dict[str, str]:
    """The output of iptables-save, as the run kept it before its own reload, else as it is now."""
    found = {}
    for family in FAMILIES:
        path = os.path.join(folder, family)
        kept = content_of(path)
        text = run_program([family + "-save"]) if kept is None else kept.decode("latin-1")
        if text is not None:
            found[family] = text
            if kept is None:
                keep_for_later(path, text)
    return found


def put_back_iptables(kept: Mapping[str, str], folder: str) -> None:
    """Restore lost rules; those that cannot be restored stay kept for the next run to report."""
    for family, text in kept.items():
        after = run_program([family + "-save"])
        if after is None:
            continue
        # Not firewalld's own rules: with its iptables backend they may be what is to be undone.
        lost = restoration(read_save(text), read_save(after))
        restore = [family + "-restore", "--noflush", "--wait", str(IPTABLES_LOCK)]
        if not lost or run_program(restore, given=lost) is not None:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, family))

"""What becomes of a packet that no specific rule of a firewall's chain names. Pure.

Of each rule only as much is kept as decides this: a chain with the policy accept may still end in a
rule that rejects everything, and one with the policy drop may accept pods before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import netaddr

ACCEPT, DROP, RETURN = "accept", "drop", "return"
_DEPTH = 16


@dataclass(frozen=True)
class FilterRule:
    """One rule.

    target
        ``accept``, ``drop`` (or rejected), ``return``, a chain; empty for anything else.
    source, destination
        The only network of which the rule asks, if it does.
    narrow
        Whether it also asks for anything else.
    """

    target: str
    source: netaddr.IPNetwork | None = None
    destination: netaddr.IPNetwork | None = None
    narrow: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether every packet meets it."""
        return not self.narrow and self.source is None and self.destination is None


@dataclass(frozen=True)
class ChainEnd:
    """How a chain ends for packets that no narrow rule names.

    verdict
        ``accept``, ``drop``, ``return``; empty if the policy decides.
    from_networks, to_networks
        The networks whose packets are accepted before.
    """

    verdict: str = ""
    from_networks: frozenset[netaddr.IPNetwork] = field(default_factory=frozenset)
    to_networks: frozenset[netaddr.IPNetwork] = field(default_factory=frozenset)

    def accepts(self, network: netaddr.IPNetwork) -> bool:
        """Whether packets from and to this network are accepted before the end."""
        return all(
            any(each.version == network.version and network in each for each in networks)
            for networks in (self.from_networks, self.to_networks)
        )


def chain_end(chains: Mapping[str, Sequence[FilterRule]], name: str, depth: int = 0) -> ChainEnd:
    """Follow a chain, and the chains that it leads every packet to, to the end.

    chains
        The rules of each chain of the table.
    """
    sources: set[netaddr.IPNetwork] = set()
    destinations: set[netaddr.IPNetwork] = set()
    verdict = ""
    for rule in chains.get(name, ()) if depth < _DEPTH else ():
        if rule.narrow:
            continue
        if rule.takes_all and rule.target in (ACCEPT, DROP, RETURN):
            verdict = rule.target
            break
        if rule.target == ACCEPT and rule.source is not None and rule.destination is None:
            sources.add(rule.source)
        elif rule.target == ACCEPT and rule.destination is not None and rule.source is None:
            destinations.add(rule.destination)
        elif rule.takes_all and rule.target in chains:
            inner = chain_end(chains, rule.target, depth + 1)
            sources |= inner.from_networks
            destinations |= inner.to_networks
            if inner.verdict in (ACCEPT, DROP):
                verdict = inner.verdict
                break
    return ChainEnd(verdict, frozenset(sources), frozenset(destinations))

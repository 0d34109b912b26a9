"""Everything that check_routes judges, read from this host: nothing is changed.

The order is that of what depends on what: which addresses are asked about, the kernel's answers,
which pod networks those show, and last the echoes, where nothing speaks against them already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from .host_facts import HostFacts, read_host
from .network import Network, look_up, read_network
from .path_mtu import PATIENCE, Path, probe
from .pod_routes import pod_targets
from .routes import echo_sizes, targets
from .rows import Tables
from .situation import BRIDGE, Situation


def observe(
    tables: Tables, name: str, peers: Iterable[str], patience: tuple[float, float] = PATIENCE
) -> tuple[Situation, Mapping[str, Path] | None]:
    """What is there on the node of this name, and what became of echoes to these peers.

    patience
        With an echo that is not answered.

    Raises ``NetworkUnreadable`` if the kernel's routes cannot be read.
    """
    wanted = set(peers)
    (node,) = (each for each in tables.nodes if each.name == name)
    at = Situation(
        node=node,
        peers=tuple(each for each in tables.nodes if each.name in wanted),
        tables=tables,
        network=Network({}, (), (), (), (), {}),
        host=HostFacts(),
    )
    at = replace(at, network=read_network(targets(at)))
    network = at.network
    pods = look_up(pod_targets(at))
    links = sorted(
        {BRIDGE, *at.overlays.values(), *(link.name for link in at.uplinks)}.intersection(
            network.interfaces
        )
    )
    at = replace(
        at,
        network=replace(network, lookups={**network.lookups, **pods}),
        host=read_host(links),
    )
    return at, probe(echo_sizes(at), patience)

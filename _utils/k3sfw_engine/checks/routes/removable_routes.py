"""Which routes a message may suggest to delete, and the command for it. Pure.

A typed fix must never take away the way to the master, of an ssh session or to a peer. So a route
may go only if nothing is connected over it, if another one leads to the same addresses, and if it
is not one that a routing daemon would set again.
"""

from __future__ import annotations

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import delete_route
from k3sfw_engine.model.interfaces_and_routes import MAIN, Route

# How iproute2 names the origin of a route that a person or a script set. Others belong to the
# kernel, to a DHCP client or to a routing daemon.
# https://github.com/iproute2/iproute2/blob/main/etc/iproute2/rt_protos
_SET_BY_HAND = ("", "boot", "static")


def removal(at: NodeFacts, *routes: Route) -> str:
    """The command that deletes these routes on the node; empty if any of them must stay."""
    if not routes or not all(_may_go(at, route, routes) for route in routes):
        return ""
    return at.run_here(*map(delete_route, routes))


def _may_go(at: NodeFacts, route: Route, going: tuple[Route, ...]) -> bool:
    return (
        route.protocol in _SET_BY_HAND
        and route.table == MAIN
        and _another_leads_there(at, route, going)
        and id(route) not in at.routes_in_use
    )


def _another_leads_there(at: NodeFacts, route: Route, going: tuple[Route, ...]) -> bool:
    return any(
        other not in going
        and other.table == MAIN
        and other.kind == "unicast"
        and _contains(other.destination, route.destination)
        for other in at.network.routes
    )


def _contains(wider: netaddr.IPNetwork, network: netaddr.IPNetwork) -> bool:
    return wider.version == network.version and network in wider

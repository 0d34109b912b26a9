"""An overlay that sends from an address which no node has in the tables. Pure.

The peers allow a node's packets by its addresses. With two cards, K3s's node-ip may be on one and
flannel go by the other, that of the default route.
https://github.com/k3s-io/k3s/issues/12056
"""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.rows import Tables


def overlay_address(overlay: OverlayFacts, tables: Tables) -> Iterator[Problem]:
    """Compare the address of each overlay device of this node with those of the nodes."""
    nodes = {address for node in tables.nodes for address in node.addresses}
    if len(tables.nodes) < 2 or not overlay.may_carry_pods:
        return  # There are no pods on other nodes.
    for device in overlay.flannels:
        if device.local is not None and device.local not in nodes:
            yield messages.overlay_sends_from(device.name, str(device.local))

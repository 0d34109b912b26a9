"""The command connections: the live connections of peers to this node. No tables, no firewalld."""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.host.image import refuse_in_image
from k3sfw_engine.host.live_connections import read_live_connections, read_live_packets

# A busy server has some thousands; the answer says that something is connected, not all of it.
_MOST = 2000


def live_peers() -> list[dict[str, str]]:
    """Return ``{place, peer, process}`` of each, at most 2,000.

    Raises ``EngineError`` if the kernel cannot be read, or is that of a host which builds an image.
    """
    refuse_in_image()
    return list(_read())[:_MOST]


def _read() -> Iterator[dict[str, str]]:
    activity = read_live_connections()
    found = (*activity.connections, *read_live_packets(activity.waiting))
    for each in sorted(found, key=lambda each: each.order):
        yield {"place": each.place, "peer": str(each.peer.ip), "process": each.process}

"""What serves ports on this node, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from k3sfw_engine.model.datastore import Datastore
from k3sfw_engine.model.listeners import Listener
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.overlay import NOTHING_KNOWN, OverlayFacts


@dataclass(frozen=True)
class NodeServices:
    """What was read.

    redirected
        What Kubernetes redirects; read only if a row has no listener.
    datastore
        Of the K3s server; ``unknown`` also on an agent.
    """

    listeners: tuple[Listener, ...]
    redirected: tuple[Redirection, ...] = ()
    overlay: OverlayFacts = NOTHING_KNOWN
    datastore: Datastore = Datastore.UNKNOWN

"""The datastore of a K3s server, as data. Pure."""

from __future__ import annotations

from enum import Enum


class Datastore(str, Enum):
    """What a server keeps the cluster's state in; an external one leaves no trace on the node."""

    ETCD = "etcd"
    SQLITE = "SQLite"
    UNKNOWN = "unknown"

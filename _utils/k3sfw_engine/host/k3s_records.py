"""What K3s wrote down on this node beside flannel's files: its datastore, the cluster's DNS."""

from __future__ import annotations

import re
from pathlib import Path

import netaddr

from k3sfw_engine.host.text_files import text_of
from k3sfw_engine.model.addresses import parse_network
from k3sfw_engine.model.datastore import Datastore

# K3s before 1.32 gives the kubelet arguments instead.
# https://docs.k3s.io/advanced#kubelet-configuration
_KUBELET = "agent/etc/kubelet.conf.d/00-k3s-defaults.conf"
_DNS = re.compile(r"^clusterDNS:[ \t]*((?:\n[ \t]*-[^\n]*)+|\[[^\]\n]*\])", re.MULTILINE)
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,}")
# https://docs.k3s.io/datastore
_ETCD, _SQLITE = "server/db/etcd", "server/db/state.db"


def read_datastore(data: Path) -> Datastore:
    """Which datastore the K3s server with this data folder has."""
    if (data / _ETCD).is_dir():
        return Datastore.ETCD
    return Datastore.SQLITE if (data / _SQLITE).is_file() else Datastore.UNKNOWN


def read_cluster_dns(data: Path) -> tuple[netaddr.IPAddress, ...]:
    """The addresses of the cluster's DNS service; none if K3s did not write them down."""
    found = _DNS.search(text_of(data / _KUBELET))
    try:
        return tuple(parse_network(text).ip for text in _ADDRESS.findall(found[1] if found else ""))
    except ValueError:
        return ()

"""What the unit tests start from: the document's tables as data of their own, and pillars of them.

Nothing here is read from ``pillar/``: the tests judge the engine by what the document says.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import netaddr
from hypothesis import strategies as st

from k3sfw_engine.model.firewall_objects import (
    FirewalldObject,
    Kind,
    make_object,
    read_plain,
)
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import WHOLE_PROTOCOLS, PortRange, Protocol, Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.port_tables.read_pillar import parse_tables

# name, protocol, port, source, destination, description: as the document writes them. Its own
# names for rows are none, so the first column is ours.
CLUSTER_TABLE = (
    ("etcd", "TCP", "2379-2380", "Server", "Server", "Etcd Service"),
    ("api", "TCP", 6443, "Any", "Server", "K3s Supervisor and Kubernetes API Server"),
    ("vxlan", "UDP", 8472, "Any", "Any", "Flannel VXLAN"),
    ("kubelet", "TCP", 10250, "Any", "Any", "Kubelet Metrics"),
    ("spegel", "TCP", 5001, "Any", "Server", "Spegel Registry Mirror"),
    ("longhorn-api", "TCP", 9500, "Any", "Any", "Longhorn Management API"),
    ("longhorn-agent", "TCP", 8500, "Any", "Any", "Longhorn Agent"),
    ("pods", "Any", None, "Pods", "Any", "K3s Pods"),
    ("services", "Any", None, "Services", "Any", "K3s Services"),
    ("http", "TCP", 80, "Any", "Any", "Optional Ingress HTTP traffic"),
    ("https", "TCP", 443, "Any", "Any", "Ingress HTTPS Traffic"),
)
MANAGER_TABLE = (
    ("https", "TCP", 443, "Ingress HTTPS Traffic"),
    ("grafana", "TCP", 3000, "Grafana"),
    ("kafka", "TCP", 9095, "Kafka"),
    ("alertmanager", "TCP", 9093, "Alertmanager"),
    ("prometheus", "TCP", 9090, "Prometheus"),
    ("redis", "TCP", 6379, "Redis"),
)

NODES = {
    "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
    "s2": {"role": "server", "addresses": ["192.0.2.12", "2001:db8::12"]},
    "s3": {"role": "server", "addresses": ["192.0.2.13"]},
    "a1": {"role": "agent", "addresses": ["192.0.2.21", "2001:db8::21"]},
    "a2": {"role": "agent", "addresses": ["192.0.2.22"]},
}

# Every rule that may ever be written, and nothing else. firewalld refuses one that names neither
# a source nor a port.
RULE = re.compile(
    r'rule family="ipv[46]"'
    r"(?= source| port| protocol)"
    r'( source (ipset="k3s-[a-z0-9-]{1,26}-[46]"( destination address="[0-9a-f:./]{2,43}")?'
    r'|address="[0-9a-f:.]{2,43}(/[0-9]{1,3})?"))?'
    r'( port port="[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?" protocol="(tcp|udp|sctp)"'
    r'| protocol value="[1-9][0-9]{0,2}")?'
    r" accept"
)


def row(protocol: str, port: Any, source: Any, destination: str, description: str = "") -> Any:
    """A row of the first table, without a port where the document says N/A."""
    columns = {"protocol": protocol, "source": source, "destination": destination}
    columns["description"] = description
    return columns if port is None else {**columns, "port": port}


def pillar(**changed: Any) -> dict[str, Any]:
    """Both tables of the document and five nodes; ``changed`` keys replace theirs."""
    good = {
        "cluster": "default",
        "flannel_backend": "vxlan",
        "pod_cidrs": ["10.42.0.0/16"],
        "service_cidrs": ["10.43.0.0/16"],
        "ports": {
            "cluster": {name: row(*columns) for name, *columns in CLUSTER_TABLE},
            "manager": {
                name: {"protocol": protocol, "port": port, "description": description}
                for name, protocol, port, description in MANAGER_TABLE
            },
        },
        "groups": {"clients": ["0.0.0.0/0", "::/0"], "admins": ["198.51.100.0/28"]},
        "nodes": NODES,
        "firewall": {"expected_nodes": 5},
    }
    return copy.deepcopy({**good, **changed})


def changed(path: str, value: Any, tree: Any = None) -> dict[str, Any]:
    """The good pillar with one value put at a path such as ``ports:cluster:etcd:port``."""
    tree = pillar() if tree is None else tree
    *ahead, last = path.split(":")
    at = tree
    for key in ahead:
        at = at.setdefault(key, {})
    at[last] = value
    return tree


def parsed(tree: Any = None, role: str = "server", minion_id: str = "") -> Tables:
    """The tables of s1, or of a1 for an agent."""
    tree = pillar() if tree is None else tree
    return parse_tables(tree, minion_id=minion_id or f"{role[0]}1", role=role)


def wanted(tree: Any = None, role: str = "server") -> Desired:
    """The objects of s1, or of a1 for an agent."""
    return compute_desired(parsed(tree, role), Role(role))


def as_read(kind: Kind, name: str, settings: Any) -> FirewalldObject:
    """An object as it is read from firewalld, with its rules given as texts."""
    plain = {key: list(it) if isinstance(it, tuple) else it for key, it in settings.items()}
    return make_object(kind, name, read_plain(kind, plain))


def addresses(family: int | None = None) -> st.SearchStrategy[str]:
    """Addresses that a node may have, few enough to collide."""
    v4 = st.integers(1, 60).map(lambda last: f"192.0.2.{last}")
    v6 = st.integers(1, 60).map(lambda last: f"2001:db8::{last:x}")
    return {4: v4, 6: v6, None: st.one_of(v4, v6)}[family]


def free_addresses() -> st.SearchStrategy[str]:
    """Addresses that none of the sample's nodes has: two pins of one address are refused."""
    taken = {each for node in NODES.values() for each in node["addresses"]}
    return addresses().filter(lambda address: address not in taken)


def networks() -> st.SearchStrategy[str]:
    """Networks in all lengths, crowded enough to overlap, contain and touch each other."""

    def network(version: int, base: int, bits: int, length: int) -> str:
        address = netaddr.IPAddress(base + bits, version)
        return str(netaddr.IPNetwork((address.value, length), version).cidr)

    v4 = st.builds(
        network, st.just(4), st.just(0xC6336400), st.integers(0, 255), st.integers(22, 32)
    )
    v6 = st.builds(
        network, st.just(6), st.just(0x20010DB8 << 96), st.integers(0, 255), st.integers(119, 128)
    )
    return st.one_of(v4, v6)


@st.composite
def pillars(draw: Any) -> dict[str, Any]:
    """Good pillars: other nodes, rows, groups, networks and backends."""
    tree = pillar()
    del tree["firewall"]
    for table in tree["ports"].values():
        for name in draw(st.sets(st.sampled_from(sorted(table)), max_size=3)):
            table[name]["enabled"] = False
    for name, members in draw(
        st.dictionaries(
            st.sampled_from(["admins", "office", "branch-2"]),
            st.lists(networks(), min_size=1, max_size=4),
            max_size=2,
        )
    ).items():
        tree["groups"][name] = members
        tree["ports"]["manager"][f"for-{name}"] = {
            "protocol": draw(st.sampled_from(["tcp", "udp", "sctp"])),
            "port": draw(st.sampled_from([22, "8000-8010", [9100, "9200-9300"]])),
            "source": draw(st.sampled_from([name, [name, "agent"], ["203.0.113.7", name]])),
        }
    if draw(st.booleans()):
        tree["ports"]["cluster"]["whole"] = {
            "protocol": draw(st.sampled_from(["vrrp", "esp", "ipip", 253])),
            "source": draw(st.sampled_from(["any", "server", "clients", "203.0.113.0/24"])),
            "destination": draw(st.sampled_from(["any", "server"])),
        }
    tree["groups"]["clients"] = draw(
        st.sampled_from([["0.0.0.0/0", "::/0"], ["192.0.2.0/24"], ["203.0.113.0/24", "::/0"]])
    )
    tree["pod_cidrs"] = draw(st.sampled_from([["10.42.0.0/16"], ["10.42.0.0/16", "fd42::/56"]]))
    tree["flannel_backend"] = draw(
        st.sampled_from(["vxlan", "wireguard-native", "host-gw", "none"])
    )
    free = draw(st.lists(free_addresses(), max_size=6, unique=True))
    for number in range(0, len(free), 2):
        tree["nodes"][f"n{number}"] = {
            "role": draw(st.sampled_from(["server", "agent"])),
            "addresses": free[number : number + 2],
        }
    for name in draw(st.sets(st.sampled_from(["s2", "s3", "a2"]))):
        del tree["nodes"][name]
    return tree


# Every rule that the engine can write.
RICH_RULES = st.builds(
    lambda family, source, ports, source_port, to: RichRule(
        family,
        ipset=f"k3s-node-{family}" if source == "ipset" else "",
        address={4: "192.0.2.0/24", 6: "2001:db8::/32"}[family] if source == "address" else "",
        protocol=ports[0],
        port=PortRange(*sorted(ports[1])) if ports[1:] else None,
        source_port=bool(ports[1:]) and source_port,
        destination={4: "10.42.0.0/16", 6: "fd42::/56"}[family] * (to and source == "ipset"),
    ),
    st.sampled_from([4, 6]),
    st.sampled_from(["ipset", "address", ""]),
    st.just((Protocol.ANY,))
    | st.tuples(st.sampled_from(sorted(WHOLE_PROTOCOLS)).map(protocol_of_number))
    | st.tuples(
        st.sampled_from([Protocol.TCP, Protocol.UDP, Protocol.SCTP]),
        st.tuples(st.integers(1, 65535), st.integers(1, 65535)),
    ),
    st.booleans(),
    st.booleans(),
)

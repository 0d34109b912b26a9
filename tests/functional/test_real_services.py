"""Real programs of add-ons pass by their rows and are closed without, by their own evidence.

Each starts while its row does not exist: what talks already stays allowed as a flow.
"""

import pytest

from lab.spec import HostSpec
from lab.wait import wait_until
from tests.functional import real_services as real
from tests.functional.hosts import OUTSIDER, SERVER, Node, standing

HOSTS = (SERVER, HostSpec("s2", "server", 12), HostSpec("a1", "agent", 21), OUTSIDER)
REJECTED = "EHOSTUNREACH"


class Cluster:
    """Nodes to which rows are applied, and a host outside."""

    def __init__(self, lab):
        self.s1, self.s2, self.a1, self.out = (lab.host(spec.name) for spec in HOSTS)
        self.nodes = {
            host.name: {"role": host.role, "addresses": [host.ipv4, host.ipv6]}
            for host in (self.s1, self.s2, self.a1)
        }

    def apply(self, **rows):
        """Apply these rows, and no others, on every node."""
        # Rows of what lives are taken away on purpose here.
        allow = {"allow_lockout": True}
        ports = {"cluster": rows, "manager": {}}
        pillar = {"ports": ports, "nodes": self.nodes, "firewall": allow}
        for host in (self.s1, self.s2, self.a1):
            Node(host).call("apply", pillar, role=host.role)


@pytest.fixture(scope="module")
def lab():
    with standing("real", HOSTS) as raised:
        yield raised


@pytest.fixture
def cluster(lab):
    """The cluster without any row."""
    made = Cluster(lab)
    made.apply()
    return made


def row(protocol, port=None, source="any", destination="any"):
    columns = {"protocol": protocol, "source": source, "destination": destination}
    return columns if port is None else {**columns, "port": port}


def becomes(expected, view, *arguments):
    """Wait until the view of a program is as expected."""
    missing = f"{view.__name__}{arguments} is not {expected}"
    wait_until(lambda: view(*arguments) == expected, missing, timeout=20)


def test_keepalived_elects_one_master_by_the_row_of_vrrp_and_two_without(cluster):
    s1, s2 = cluster.s1, cluster.s2
    both, one = {"s1", "s2"}, {"s1"}
    # By IPv6 advertisements come from link-local addresses.
    vrrp = row("vrrp", source=["server", "fe80::/10"], destination="server")
    with real.keepalived(s1, 150), real.keepalived(s2, 100):
        for rows, expected in (({}, both), ({"vrrp": vrrp}, one), ({}, both)):
            cluster.apply(**rows)
            for family in (4, 6):
                becomes(expected, real.masters, family, s1, s2)


def test_memberlist_joins_by_its_rows_and_not_without(cluster):
    s1, s2 = cluster.s1, cluster.s2
    with real.serf(s1), real.serf(s2) as other:
        assert not real.join(s1, s2) and not real.join(s2, s1)
        assert (real.members(s1), real.members(s2)) == ({"s1": "alive"}, {"s2": "alive"})
        cluster.apply(tcp=row("tcp", 7946), udp=row("udp", 7946))
        assert real.join(s1, s2)
        for host in (s1, s2):
            becomes({"s1": "alive", "s2": "alive"}, real.members, host)
        other.kill()
        becomes({"s1": "alive", "s2": "failed"}, real.members, s1)


def test_node_exporter_is_read_by_its_row_from_nodes_and_not_from_outside(cluster):
    with real.program(cluster.s1, "prometheus-node-exporter"):
        becomes("open", real.connect, cluster.s1, cluster.s1.ipv4, 9100)
        assert real.connect(cluster.a1, cluster.s1.ipv4, 9100) == REJECTED
        cluster.apply(exporter=row("tcp", 9100))
        metrics = cluster.a1.run(
            ["python3", "-c", READ, f"http://{cluster.s1.ipv4}:9100/metrics"]
        ).stdout
        assert "node_cpu_seconds_total" in metrics
        assert real.connect(cluster.out, cluster.s1.ipv4, 9100) == REJECTED


READ = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"


def test_haproxy_on_a_virtual_address_reaches_every_server_by_the_row_of_the_api(cluster):
    s1, s2, out = cluster.s1, cluster.s2, cluster.out
    address = real.VIRTUAL[4]
    api = row("tcp", 6443, destination="server")
    front = row("tcp", 8443, source="0.0.0.0/0", destination="server")
    balancer = real.haproxy(s1, address, 8443, (s1, s2), 6443)
    with real.greeter(s1, 6443), real.greeter(s2, 6443), balancer:
        becomes({"s1"}, real.backends_up, s1)
        assert real.connect(out, address, 8443) == REJECTED
        cluster.apply(api=api, front=front)
        becomes({"s1", "s2"}, real.backends_up, s1)
        assert {real.greeting(out, address, 8443) for _turn in range(4)} == {"s1", "s2"}
        assert real.connect(out, address, 6443) == REJECTED


def test_a_wireguard_mesh_shakes_hands_by_its_row_and_not_without(cluster):
    s1, s2 = cluster.s1, cluster.s2
    with real.wireguard(s1) as first, real.wireguard(s2) as second:
        # Only one dials: what both dial passes as the reply to the other.
        real.add_peer(s2, first, s1, dials=False)
        real.add_peer(s1, second, s2, dials=True)
        assert not real.reaches_inside(s1, s2) and not real.has_handshake(s1)
        cluster.apply(mesh=row("udp", real.WIREGUARD_PORT))
        real.add_peer(s1, second, s2, dials=True)
        assert real.reaches_inside(s1, s2) and real.has_handshake(s1)


def test_etcd_with_client_certificates_is_healthy_by_its_row_and_closed_to_agents(cluster):
    s1, s2, a1 = members = cluster.s1, cluster.s2, cluster.a1
    servers = members[:2]
    real.give_certificates(*members)
    with real.etcd(s1, servers), real.etcd(s2, servers):
        becomes("open", real.connect, s1, "127.0.0.1", 2379)
        assert real.etcdctl(s1, servers, "endpoint", "health").returncode != 0
        cluster.apply(etcd=row("tcp", "2379-2380", "server", "server"))
        becomes(True, is_healthy, s1, servers)
        listed = real.etcdctl(s2, servers, "member", "list").stdout
        assert listed.count("started") == 2
        # The certificate alone does not open it, nor does the row alone.
        assert real.connect(a1, s1.ipv4, 2379) == REJECTED
        assert not is_healthy(a1, servers)
        ca_alone = real.TLS[:1]
        assert real.etcdctl(s2, servers, "endpoint", "health", tls=ca_alone).returncode != 0


def is_healthy(client, servers):
    return real.etcdctl(client, servers, "endpoint", "health").returncode == 0

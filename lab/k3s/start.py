"""Start what K3s makes on every node of a lab that is up, or stop it; harmless when repeated."""

from __future__ import annotations

from lab.cluster import Lab, together
from lab.host import Host
from lab.k3s import flannel, kube_proxy, pods, services
from lab.k3s.addresses import POD, addresses, ip

# K3s needs a default route. The master's host does not forward to other networks.
GATEWAY = "192.0.2.10"
# 1500 bytes less the overhead of VXLAN.
MTU = 1450
# The first service of a cluster: the Kubernetes API, as pods know it.
API_SERVICE, API_PORT, API_NODE_PORT = "10.43.0.1", 443, 6443
# As K3s sets them. The last exists only where br_netfilter is loaded.
# https://github.com/k3s-io/k3s/blob/master/pkg/agent/syssetup/setup.go
SYSCTLS = ("net/ipv4/conf/all/forwarding", "net/bridge/bridge-nf-call-iptables")


def start(lab: Lab) -> None:
    """Start the overlay, a pod and all services on every node, and wait until they listen."""
    nodes = dict(enumerate(k3s_nodes(lab), 1))
    numbers = {host.name: number for number, host in nodes.items()}
    servers = [host for host in nodes.values() if host.role == "server"]

    def bring_up(host: Host) -> None:
        number = numbers[host.name]
        _settle(host)
        _overlay(host, number, {n: peer for n, peer in nodes.items() if n != number})
        _pod(host, number)
        _redirect(host, servers[0])
        services.start(host, servers)

    hosts = list(nodes.values())
    together(bring_up, hosts)
    # Only now: a member of etcd listens for clients after it has found the others.
    together(services.wait, hosts)


def stop(lab: Lab) -> None:
    """Stop the services and remove the pods and overlay of every node."""
    together(_tear_down, k3s_nodes(lab))


def _tear_down(host: Host) -> None:
    services.stop(host)
    kube_proxy.stop_redirecting(host, how="iptables")
    host.run(
        [
            "sh",
            "-c",
            "ip netns delete pod; ip link delete cni0; ip link delete flannel.1; "
            f"{_unrouted(host)}echo 0 > /proc/sys/net/ipv4/ip_forward; "
            f"rm -f {flannel.SUBNET_FILE} {flannel.configuration_of(host)}; true",
        ]
    )


def _unrouted(host: Host) -> str:
    return "" if host.spec.gateway else f"ip route delete default via {GATEWAY}; "


def k3s_nodes(lab: Lab) -> list[Host]:
    """The hosts of a lab that are K3s nodes; there must be a server among them."""
    return [host for host in lab.hosts.values() if host.spec.is_node]


def pod_address(lab: Lab, name: str) -> str:
    """The IPv4 address of the pod on the node of this name."""
    number = [host.name for host in k3s_nodes(lab)].index(name) + 1
    return addresses(POD, number, 2)[0]


def _settle(host: Host) -> None:
    lines = [f"! [ -e /proc/sys/{name} ] || echo 1 > /proc/sys/{name}" for name in SYSCTLS]
    gateway = host.spec.gateway or GATEWAY
    host.run(["sh", "-ec", "\n".join([f"ip route replace default via {gateway}", *lines])])


def _overlay(host: Host, number: int, peers: flannel.Peers) -> None:
    host.run(["sh", "-ec", flannel.vxlan_script(host, number, peers)])
    flannel.write_files(host, number)


def _pod(host: Host, number: int) -> None:
    """Create the node's pod, unless it is complete, and start a web server in it."""
    has_route = [*pods.INSIDE, "ip", "route", "show", "default"]
    if "default" not in host.run(has_route, check=False).stdout:
        host.run(["sh", "-c", "ip netns delete pod; ip link delete cni0"], check=False)
        pods.make(host, number)
        ip(host, f"link set cni0 mtu {MTU}")
        ip(host, f"link set eth0 mtu {MTU}", inside=pods.INSIDE)
    services.start_in_pod(host, pods.INSIDE)


def _redirect(host: Host, server: Host) -> None:
    """Write kube-proxy's rules if they are missing: firewalld 1.3 drops them at a reload."""
    if host.run(["iptables", "-t", "nat", "-S", "KUBE-SERVICES"], check=False).returncode:
        api = kube_proxy.Redirection(
            API_SERVICE, API_PORT, server.ipv4, API_NODE_PORT, protocols=("tcp",)
        )
        kube_proxy.redirect(host, [api], how="iptables")

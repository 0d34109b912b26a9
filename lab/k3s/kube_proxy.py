"""The NAT rules that kube-proxy, the CNI's portmap plugin and flannel write on a node.

Made with nftables or with iptables, as kube-proxy does by its mode. The rules are those that a
packet meets, without the chains for balancing: one backend for each service.
https://github.com/kubernetes/kubernetes/tree/master/pkg/proxy
https://github.com/containernetworking/plugins/tree/main/plugins/meta/portmap
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.namespaces import Namespaces

PODS = {4: "10.42.0.0/16", 6: "fd42::/64"}
MARK = "0x4000"
PROTOCOLS = ("tcp", "udp")
Mode = Literal["nftables", "iptables"]


@dataclass(frozen=True)
class Redirection:
    """Packets to a port of a service address, or of the node itself, go to a backend.

    An empty ``address`` means the addresses of the node. Then answers must come back through the
    node (``masked``), unless the backend is on it.
    """

    address: str
    port: int
    backend: str
    backend_port: int
    masked: bool = False
    protocols: tuple[str, ...] = PROTOCOLS

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.backend else 4


def redirect(host: Namespaces, redirections: Sequence[Redirection], *, how: Mode) -> None:
    """Write the NAT rules of a node."""
    {"nftables": _with_nftables, "iptables": _with_iptables}[how](host, redirections)


def stop_redirecting(host: Namespaces, *, how: Mode) -> None:
    """Remove these NAT rules, as far as they exist."""
    table = {"nftables": "kube-proxy", "iptables": "nat"}[how]
    for name in ("ip", "ip6"):
        host.run(["nft", f"add table {name} {table}; delete table {name} {table}"])


def _of(family: int, redirections: Iterable[Redirection]) -> list[Redirection]:
    return [each for each in redirections if each.family == family]


def _with_nftables(host: Namespaces, redirections: Sequence[Redirection]) -> None:
    lines = []
    for family, name in ((4, "ip"), (6, "ip6")):
        own = _of(family, redirections)
        lines += [
            f"table {name} kube-proxy {{",
            "  chain services {",
            *(f"    {rule}" for each in own for rule in _nftables_rules(each, name)),
            "  }",
            "  chain prerouting { type nat hook prerouting priority dstnat; jump services; }",
            "  chain output { type nat hook output priority -100; jump services; }",
            "  chain postrouting { type nat hook postrouting priority srcnat;",
            f"    meta mark & {MARK} == {MARK} masquerade",
            # A pod that calls a service and is its backend.
            *(f"    {name} saddr {a} {name} daddr {a} masquerade" for a in _backends(own)),
            f"    {name} saddr {PODS[family]} {name} daddr {PODS[family]} return",
            f"    {name} saddr {PODS[family]} masquerade",
            f"    {name} daddr {PODS[family]} masquerade",
            "  }",
            "}",
        ]
    host.run(["nft", "-f", "-"], input="\n".join(lines) + "\n")


def _backends(redirections: Iterable[Redirection]) -> list[str]:
    return sorted({each.backend for each in redirections})


def _nftables_rules(each: Redirection, name: str) -> Iterator[str]:
    to = f"{name} daddr {each.address}" if each.address else "fib daddr type local"
    mark = f"meta mark set meta mark | {MARK} " if each.masked else ""
    backend = f"[{each.backend}]" if each.family == 6 else each.backend
    for protocol in each.protocols:
        port = f"{protocol} dport {each.port}"
        yield f"{to} {port} {mark}dnat to {backend}:{each.backend_port}"


def _with_iptables(host: Namespaces, redirections: Sequence[Redirection]) -> None:
    for family, program in ((4, "iptables-restore"), (6, "ip6tables-restore")):
        pods, own = PODS[family], _of(family, redirections)
        lines = [
            "*nat",
            ":KUBE-SERVICES - [0:0]",
            "-A PREROUTING -j KUBE-SERVICES",
            "-A OUTPUT -j KUBE-SERVICES",
            f"-A POSTROUTING -m mark --mark {MARK}/{MARK} -j MASQUERADE",
            *(f"-A POSTROUTING -s {a} -d {a} -j MASQUERADE" for a in _backends(own)),
            f"-A POSTROUTING -s {pods} -d {pods} -j RETURN",
            f"-A POSTROUTING -s {pods} -j MASQUERADE",
            f"-A POSTROUTING -d {pods} -j MASQUERADE",
            *(rule for each in own for rule in _iptables_rules(each)),
        ]
        host.run([program, "--noflush"], input="\n".join([*lines, "COMMIT", ""]))


def _iptables_rules(each: Redirection) -> Iterator[str]:
    to = f"-d {each.address}" if each.address else "-m addrtype --dst-type LOCAL"
    backend = f"[{each.backend}]" if each.family == 6 else each.backend
    for protocol in each.protocols:
        which = f"-A KUBE-SERVICES {to} -p {protocol} -m {protocol} --dport {each.port}"
        if each.masked:
            yield f"{which} -j MARK --or-mark {MARK}"
        yield f"{which} -j DNAT --to-destination {backend}:{each.backend_port}"

"""The rules that the CNI plugin portmap writes for hostPorts with nftables, from its 1.6 on. Pure.

It does so if its network says so, or if iptables is not installed. Rules of a pod have its
container's id as their comment.
https://github.com/containernetworking/plugins/tree/main/plugins/meta/portmap
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from k3sfw_engine.model.host_ports import PodPorts, with_port

NFT_TABLE = "cni_hostport"
HOST_PORTS_CHAIN, _MASQUERADING_CHAIN = "hostports", "masquerading"
NFT_FAMILIES = {4: "ip", 6: "ip6"}

# The comment of each rule, by chain.
ChainComments = Mapping[str, Sequence[str]]


def nft_rules_of(pod: PodPorts, family: int) -> Iterator[tuple[str, str]]:
    """The chain and the text of each rule of a pod."""
    mappings = pod.mappings_of(family)
    if not mappings:
        return
    ip, address = NFT_FAMILIES[family], pod.addresses[family].ip
    for each in mappings:
        to = f"{ip} daddr {each.host_ip} " if each.host_ip else ""
        target = with_port(address, each.container_port)
        yield HOST_PORTS_CHAIN, f"{to}{each.protocol} dport {each.host_port} dnat to {target}"
    if pod.settings.snat:
        everyone = "0.0.0.0/0" if family == 4 else "::/0"
        sources = [everyone] if pod.settings.masquerade_all else [str(address)]
        sources += ["127.0.0.1"] if family == 4 and not pod.settings.masquerade_all else []
        for source in sources:
            yield _MASQUERADING_CHAIN, f"{ip} saddr {source} {ip} daddr {address} masquerade"


def expected_nft_uses(pods: Iterable[PodPorts], family: int) -> Mapping[str, int]:
    """How often the kernel counts each chain as used: by its rules, and by jumps to it."""
    uses = Counter(chain for pod in pods for chain, _text in nft_rules_of(pod, family))
    return uses + Counter({HOST_PORTS_CHAIN: 1, "prerouting": 1, "output": 1}) if uses else uses


def is_lost_in_nft(pod: PodPorts, family: int, there: ChainComments) -> bool:
    """Whether rules of a pod are missing among those that are there."""
    chains = {chain for chain, _text in nft_rules_of(pod, family)}
    if not chains:
        return False
    entrances = all(there.get(chain) for chain in ("prerouting", "output"))
    return not entrances or any(_is_gone(pod, chain, there) for chain in chains)


def nft_restoration(pods: Iterable[PodPorts], family: int, there: ChainComments) -> str:
    """The input for ``nft -f`` that writes the missing rules of these pods, as portmap writes."""
    pods = tuple(pods)
    rules = [
        f'add rule {_in(family)} {chain} {text} comment "{pod.container}"'
        for pod in pods
        for chain, text in nft_rules_of(pod, family)
        if _is_gone(pod, chain, there)
    ]
    return "".join(f"{line}\n" for line in [*_shared(pods, family), *rules])


def _is_gone(pod: PodPorts, chain: str, there: ChainComments) -> bool:
    return pod.container not in there.get(chain, ())


def _in(family: int) -> str:
    return f"{NFT_FAMILIES[family]} {NFT_TABLE}"


def _shared(pods: Iterable[PodPorts], family: int) -> Iterator[str]:
    """What all pods share; portmap writes it anew for each pod."""
    table, jump = _in(family), f"jump {HOST_PORTS_CHAIN}"
    yield f'add table {table} {{ comment "CNI portmap plugin" ; }}'
    yield f"add chain {table} {HOST_PORTS_CHAIN}"
    yield f"add chain {table} hostip_hostports"
    yield f"add chain {table} hostports_all"
    yield f"flush chain {table} hostports_all"
    yield f"add rule {table} hostports_all jump hostip_hostports"
    yield f"add rule {table} hostports_all {jump}"
    conditions = next(pod.settings.conditions.get(family, ()) for pod in reversed(tuple(pods)))
    match = " ".join([*conditions, "fib daddr type local jump hostports_all"])
    for chain in ("prerouting", "output"):
        yield f"add chain {table} {chain} {{ type nat hook {chain} priority -100 ; }}"
        yield f"flush chain {table} {chain}"
        yield f"add rule {table} {chain} {match}"
    yield (
        f"add chain {table} {_MASQUERADING_CHAIN} {{ type nat hook postrouting priority 100 ; }}"
    )

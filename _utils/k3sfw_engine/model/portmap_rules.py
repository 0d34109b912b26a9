"""The rules that the CNI plugin portmap writes for hostPorts into iptables' table nat. Pure.

A rule is written as ``iptables-save`` shows it, so that it can be compared with what is there.
https://github.com/containernetworking/plugins/tree/main/plugins/meta/portmap
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.host_ports import PodPorts, PortMapping, with_port

DNAT_CHAIN = "CNI-HOSTPORT-DNAT"
_SET_MARK_CHAIN = "CNI-HOSTPORT-SETMARK"
_MASQUERADE_CHAIN = "CNI-HOSTPORT-MASQ"
_BUILT_IN = ("PREROUTING", "OUTPUT", "POSTROUTING")

# The length of the chains' names, of iptables' comments, and of its lists of ports.
_NAME_LENGTH, _COMMENT_LENGTH, _PORTS_IN_A_RULE = 28, 255, 15

# The rules of each chain.
ChainRules = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PortmapRule:
    """One rule of a chain; ``first`` goes before all others."""

    chain: str
    text: str
    first: bool = False

    @property
    def target(self) -> str:
        """What the rule jumps to."""
        return self.text.rpartition("-j ")[2].split(" ")[0]


def rules_of(pod: PodPorts, family: int) -> tuple[PortmapRule, ...]:
    """All rules that redirect the hostPorts of a pod, those that it shares with others included."""
    mappings = pod.mappings_of(family)
    if not mappings:
        return ()
    return (
        *_marking(pod),
        *(PortmapRule(chain, _TO_HOST_PORTS) for chain in ("PREROUTING", "OUTPUT")),
        *(PortmapRule(DNAT_CHAIN, text) for text in _entries(pod, family)),
        *(
            PortmapRule(chain_of(pod), each)
            for one in mappings
            for each in _redirection(pod, family, one)
        ),
    )


def expected_uses(pods: Iterable[PodPorts], family: int) -> Mapping[str, int]:
    """How often the kernel counts each chain as used: by its rules, and by jumps to it."""
    every = {rule for pod in pods for rule in rules_of(pod, family)}
    ends = Counter(end for rule in every for end in (rule.chain, rule.target))
    return {name: uses for name, uses in ends.items() if name.startswith("CNI-")}


def is_lost(pod: PodPorts, family: int, there: ChainRules) -> bool:
    """Whether a rule of a pod is missing among those that are there."""
    return any(_missing(pod, family, there))


def restoration(
    lost: Iterable[PodPorts], known: Sequence[PodPorts], family: int, there: ChainRules
) -> str:
    """The input for ``iptables-restore --noflush`` that writes the missing rules of these pods.

    It fails as a whole if one of the new chains appears meanwhile.

    known
        All pods with hostPorts, the oldest first: of two that want the same port, the older one
        has it.
    """
    missing = list(dict.fromkeys(rule for pod in lost for rule in _missing(pod, family, there)))
    if not missing:
        return ""
    ends = dict.fromkeys(end for rule in missing for end in (rule.chain, rule.target))
    chains = [name for name in ends if name not in there and name not in _NOT_CHAINS]
    age = {chain_of(pod): place for place, pod in enumerate(known)}
    entries = [PortmapRule(DNAT_CHAIN, text).target for text in there.get(DNAT_CHAIN, ())]
    lines = ["*nat", *(f"-N {name}" for name in chains)]
    for rule in missing:
        if rule.chain == DNAT_CHAIN:
            place = _place(age[rule.target], entries, age)
            entries.insert(place, rule.target)
            lines.append(f"-I {rule.chain} {place + 1} {rule.text}")
        else:
            lines.append(f"{'-I' if rule.first else '-A'} {rule.chain} {rule.text}")
    return "".join(f"{line}\n" for line in [*lines, "COMMIT"])


def removal(pods: Iterable[PodPorts], family: int) -> Iterator[str]:
    """For each pod, the input for ``iptables-restore --noflush`` that removes its own rules."""
    for pod in pods:
        chain = chain_of(pod)
        entries = [f"-D {DNAT_CHAIN} {text}" for text in _entries(pod, family)]
        yield "".join(
            f"{line}\n" for line in ["*nat", *entries, f"-F {chain}", f"-X {chain}", "COMMIT"]
        )


def chain_of(pod: PodPorts) -> str:
    """The name of the chain with the redirections of a pod."""
    digest = hashlib.sha512(f"{pod.network}{pod.container}".encode()).hexdigest()
    return f"CNI-DN-{digest}"[:_NAME_LENGTH]


_TO_HOST_PORTS = f"-m addrtype --dst-type LOCAL -j {DNAT_CHAIN}"
_NOT_CHAINS = ("DNAT", "MARK", "MASQUERADE", *_BUILT_IN)


def _missing(pod: PodPorts, family: int, there: ChainRules) -> Iterator[PortmapRule]:
    """The rules of a pod that are not there.

    What stands in the pod's own chains was written by the plugin itself, perhaps by another version
    of it, and is left as it is.
    """
    chain = chain_of(pod)
    entries = [
        text for text in there.get(DNAT_CHAIN, ()) if PortmapRule(DNAT_CHAIN, text).target == chain
    ]
    complete = len(entries) >= len(_entries(pod, family))
    for rule in rules_of(pod, family):
        if rule.chain in (chain, _SET_MARK_CHAIN, _MASQUERADE_CHAIN):
            missing = not there.get(rule.chain)
        elif rule.chain == DNAT_CHAIN:
            missing = not complete and rule.text not in entries
        else:
            missing = all(
                PortmapRule(rule.chain, text).target != rule.target
                for text in there.get(rule.chain, ())
            )
        if missing:
            yield rule


def _place(age: int, entries: Sequence[str], ages: Mapping[str, int]) -> int:
    """Where a pod's entry belongs: before those of younger pods."""
    younger = (place for place, name in enumerate(entries) if ages.get(name, -1) > age)
    return next(younger, len(entries))


def _marking(pod: PodPorts) -> Iterator[PortmapRule]:
    """The rules that masquerade packets of the node itself and of the pod to itself."""
    settings = pod.settings
    if not settings.snat or settings.external_mark_chain:
        return
    mark = f"{1 << settings.mark_bit:#x}"
    yield PortmapRule(
        _SET_MARK_CHAIN,
        f'-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark {mark}/{mark}',
    )
    yield PortmapRule(_MASQUERADE_CHAIN, f"-m mark --mark {mark}/{mark} -j MASQUERADE")
    comment = '-m comment --comment "CNI portfwd requiring masquerade"'
    yield PortmapRule("POSTROUTING", f"{comment} -j {_MASQUERADE_CHAIN}", first=True)


def _entries(pod: PodPorts, family: int) -> tuple[str, ...]:
    """The rules that lead to the pod's chain; they name its ports of both families."""
    comment = f'dnat name: "{pod.network}" id: "{pod.container}"'
    if len(comment) > _COMMENT_LENGTH:
        comment = f"{comment[: _COMMENT_LENGTH - 2]}..."
    ports: dict[str, list[int]] = {}
    for each in pod.mappings:
        ports.setdefault(each.protocol, []).append(each.host_port)
    conditions = "".join(f" {_quoted(word)}" for word in pod.settings.conditions.get(family, ()))
    return tuple(
        f"-p {protocol} -m comment --comment {_quoted(comment)} -m multiport --dports "
        f"{','.join(map(str, found[start : start + _PORTS_IN_A_RULE]))}{conditions} "
        f"-j {chain_of(pod)}"
        for protocol, found in sorted(ports.items())
        for start in range(0, len(found), _PORTS_IN_A_RULE)
    )


def _quoted(word: str) -> str:
    if word.replace("-", "").isalnum():
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _redirection(pod: PodPorts, family: int, mapping: PortMapping) -> Iterator[str]:
    """The rules of one hostPort in the pod's chain: masquerade some packets, redirect all."""
    address = pod.addresses[family]
    to = f"-d {netaddr.IPNetwork(mapping.host_ip)} " if mapping.host_ip else ""
    match = f"{to}-p {mapping.protocol} -m {mapping.protocol} --dport {mapping.host_port}"
    if pod.settings.snat:
        mark = f"{match} -j {pod.settings.external_mark_chain or _SET_MARK_CHAIN}"
        if pod.settings.masquerade_all:
            yield mark
        else:
            yield f"-s {address.cidr} {mark}"
            if family == 4:
                yield f"-s 127.0.0.1/32 {mark}"
    yield f"{match} -j DNAT --to-destination {with_port(address.ip, mapping.container_port)}"

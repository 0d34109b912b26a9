"""The sysctls that forwarding between pods and nodes needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE
from k3sfw_engine.model.sysctl_names import (
    BRIDGE_CALLS,
    FORWARDING,
    dotted,
    forwarding_of,
    rp_filter_of,
)

# -- settings of the kernel -----------------------------------------------------------------------


def judge_sysctls(at: NodeFacts) -> Iterator[Check]:
    links = [CNI_BRIDGE, *at.overlays.values(), *(link.name for link in at.uplinks)]
    yield from _setting(at, FORWARDING[4], "pods reach nobody outside of this node")
    # Switched off for one interface it is the same, for what comes in by that one.
    if at.host.sysctls.get(FORWARDING[4]) == "1":
        for link in links:
            yield from _forwarding(at, forwarding_of(link, 4), link)
    if any(cidr.version == 6 for cidr in at.tables.pod_cidrs):
        name = FORWARDING[6]
        yield from _setting(at, name, "pods reach nobody outside of this node by IPv6")
        if at.host.sysctls.get(name) == "1":
            for link in links:
                yield from _forwarding(at, forwarding_of(link, 6), link)
    for family, name in BRIDGE_CALLS.items():
        if any(cidr.version == family for cidr in at.tables.pod_cidrs):
            what = "a pod that calls a service on its own node gets no answer"
            yield from _setting(at, name, what)
    yield from _reverse_paths(at)


def _setting(at: NodeFacts, name: str, what: str) -> Iterator[Check]:
    """A setting that must be 1; one that the kernel does not have needs none."""
    value = at.host.sysctls.get(name)
    if value == "1":
        yield at.check(None, dotted(name), Status.OK, evidence="is 1")
    elif value is not None:
        evidence = f"is {value}, so {what}"
        yield at.check(None, dotted(name), Status.BAD_SETTING, evidence=evidence, hint=at.settle)


def _forwarding(at: NodeFacts, name: str, link: str) -> Iterator[Check]:
    if at.host.sysctls.get(name) == "0":
        evidence = f"is 0, so what comes in by {link} is not forwarded"
        # The kernel hands a change of the general setting down, and only a change.
        hint = at.typed(f"sysctl -w {dotted(name)}=1")
        yield at.check(None, dotted(name), Status.BAD_SETTING, evidence=evidence, hint=hint)


def _reverse_paths(at: NodeFacts) -> Iterator[Check]:
    """Strict reverse-path filtering drops what comes in by another link than answers leave by."""
    for link in at.uplinks:
        names = [rp_filter_of(each) for each in ("all", link.name)]
        # The kernel takes the stricter of both, as it counts: 2 is loose and wins over 1.
        value = max(at.host.sysctls.get(name, "0") for name in names)
        if value != "1":
            continue
        others = {
            at.lookup(address).device
            for _peer, address in at.addresses_of(at.peers)
            if address.version == 4 and not at.lookup(address).error
        } - {link.name}
        if others and 4 in {address.version for address in at.own}:
            yield at.check(
                None,
                dotted(names[1]),
                Status.BAD_SETTING,
                evidence="is strict, and answers to some peers leave by "
                f"{', '.join(sorted(others))}: what they send to {link.name} is dropped",
                hint=at.settle,
            )

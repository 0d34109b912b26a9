"""The way of one packet to this host: each step it meets, in order, until one decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import netaddr

from k3sfw_engine.checks.lockout.allowed_by_other_rules import zones_of
from k3sfw_engine.checks.walk import messages
from k3sfw_engine.checks.walk.object_decision import Decision, Fate, decide, decide_by_target
from k3sfw_engine.model.firewall_objects import ROWS, FirewalldObject
from k3sfw_engine.model.nat import NatFacts, Redirection
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Row
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules
from k3sfw_engine.plan.defaults import PRIORITY


class Stage(str, Enum):
    """What a packet meets, in the order in which it does."""

    NAT = "nat"
    EARLIER_POLICIES = "policies before ours"
    ROWS = "rows"
    KERNEL = "kernel"
    LATER_POLICIES = "policies after ours"
    ZONE = "zone"


@dataclass(frozen=True)
class WalkStep:
    """What one stage does with the packet, in a word and in a sentence."""

    stage: Stage
    fate: Fate
    text: str


@dataclass(frozen=True)
class PacketFacts:
    """What was read of this host for the packet.

    interface
        Where it would arrive; ``lo`` if it comes from this host, empty if that is not known.
    no_route
        Why it is not known.
    others
        ``None`` if firewalld's zones and policies could not be read, and ``unread`` why.
    kernel
        Our rules in the kernel; ``None`` if they could not be read.
    rules
        The rules of ours that allow it by the tables.
    own
        The addresses of this host; empty if they are not known.
    by_interface
        Whether it is allowed because of the zone in which it arrives.
    """

    interface: str = ""
    no_route: str = ""
    redirected: NatFacts = NatFacts()
    others: OtherRules | None = None
    unread: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    rules: tuple[RichRule, ...] = ()
    own: frozenset[netaddr.IPAddress] = frozenset()
    by_interface: bool = False
    kernel: frozenset[RichRule] | None = None
    unread_kernel: tuple[str, ...] = ()


@dataclass(frozen=True)
class PacketWalk:
    """All steps, and the one that decides; steps behind it are there for what they would do."""

    steps: tuple[WalkStep, ...] = field(default=())

    @property
    def decisive(self) -> WalkStep | None:
        """The first step that decides, or may: behind one that is not known, nothing is."""
        return next((each for each in self.steps if each.fate is not Fate.GOES_ON), None)


def walk(packet: Packet, facts: PacketFacts) -> PacketWalk:
    """Follow the packet to this host."""
    packet = replace(packet, to=facts.own)
    if facts.interface == "lo":
        step = WalkStep(Stage.ZONE, Fate.ALLOWED, messages.from_this_host())
        return PacketWalk((step,))
    zones: tuple[str, ...] = ()
    if facts.others is not None and facts.interface:
        zones = zones_of(facts.others, packet, frozenset({facts.interface}))
    return PacketWalk(
        (
            _nat(packet, facts.redirected),
            _policies(packet, facts, zones, Stage.EARLIER_POLICIES),
            *_rows(facts),
            _policies(packet, facts, zones, Stage.LATER_POLICIES),
            *_zones(packet, facts, zones),
        )
    )


def _nat(packet: Packet, nat: NatFacts) -> WalkStep:
    found = sorted(each for each in nat.found if _is_redirected(each, packet))
    if found:
        return WalkStep(Stage.NAT, Fate.REDIRECTED, messages.redirected(found))
    if nat.unread:
        text = messages.not_read("destination NAT", map(str, nat.unread))
        return WalkStep(Stage.NAT, Fate.NOT_KNOWN, text)
    return WalkStep(Stage.NAT, Fate.GOES_ON, messages.no_redirection())


def _is_redirected(each: Redirection, packet: Packet) -> bool:
    if each.protocol is not packet.protocol or each.family != packet.source.version:
        return False
    if packet.port is None or packet.port not in each.ports:
        return False
    sources = [netaddr.IPNetwork(source) for source in each.source.split(",") if source]
    return not sources or any(packet.source in source for source in sources)


def _rows(facts: PacketFacts) -> Iterator[WalkStep]:
    """What our rows say, and whether their rules are in force in the kernel."""
    if not facts.rows:
        yield WalkStep(Stage.ROWS, Fate.GOES_ON, messages.in_no_row())
        yield WalkStep(Stage.KERNEL, Fate.GOES_ON, messages.no_rule_expected())
        return
    text = messages.allowed_by_rows(row.path for row in facts.rows)
    # By the zone in which it arrives, no single rule stands for the row.
    if facts.by_interface and not facts.rules:
        yield WalkStep(Stage.ROWS, Fate.ALLOWED, text)
        return
    if facts.kernel is None:
        yield WalkStep(Stage.ROWS, Fate.GOES_ON, text)
        unread = messages.not_read("the rules in the kernel", facts.unread_kernel)
        yield WalkStep(Stage.KERNEL, Fate.NOT_KNOWN, unread)
        return
    there = [rule for rule in facts.rules if rule in facts.kernel]
    if there or facts.by_interface:
        yield WalkStep(Stage.ROWS, Fate.ALLOWED, text)
        yield WalkStep(Stage.KERNEL, Fate.ALLOWED, messages.in_kernel(map(nft_text, there)))
        return
    yield WalkStep(Stage.ROWS, Fate.GOES_ON, text)
    missing = messages.not_in_kernel(map(nft_text, facts.rules))
    yield WalkStep(Stage.KERNEL, Fate.GOES_ON, missing)


def nft_text(rule: RichRule) -> str:
    """The rule in the kernel that the rich rule becomes, as nft would write it."""
    words = []
    family = "ip" if rule.family == 4 else "ip6"
    if rule.ipset or rule.address:
        words.append(f"{family} saddr {f'@{rule.ipset}' if rule.ipset else rule.address}")
    else:
        words.append(f"meta nfproto ipv{rule.family}")
    if rule.destination:
        words.append(f"{family} daddr {rule.destination}")
    if rule.port is not None:
        side = "sport" if rule.source_port else "dport"
        words.append(f"{rule.protocol.value} {side} {rule.port}")
    elif rule.protocol.is_whole:
        words.append(f"meta l4proto {rule.protocol.number}")
    chain = f"inet firewalld filter_IN_policy_{ROWS}_allow"
    return f"{chain}: {' '.join(words)} accept"


# -- what is not ours -----------------------------------------------------------------------------

_WHEN: Mapping[Stage, tuple[str, Callable[[int], bool]]] = {
    Stage.EARLIER_POLICIES: (f"before {ROWS}", lambda priority: priority < PRIORITY),
    Stage.LATER_POLICIES: (f"after {ROWS}", lambda priority: PRIORITY <= priority < 0),
}


def _policies(packet: Packet, facts: PacketFacts, zones: Sequence[str], stage: Stage) -> WalkStep:
    """The first policy of others at this stage that decides."""
    if facts.others is None:
        text = messages.not_read("firewalld's policies", facts.unread)
        return WalkStep(stage, Fate.NOT_KNOWN, text)
    when, is_here = _WHEN[stage]
    for each in _to_host(facts.others, zones, is_here):
        decision = decide(each, packet, facts.others).judged()
        what = f"policy {each.name} (priority {each.settings['priority']})"
        if decision.fate is not Fate.GOES_ON:
            return WalkStep(stage, decision.fate, messages.decided(what, decision))
    return WalkStep(stage, Fate.GOES_ON, messages.no_policy(when))


def _to_host(
    others: OtherRules, zones: Iterable[str], is_here: Callable[[int], bool]
) -> list[FirewalldObject]:
    """The policies that judge packets to this host from these zones, in their order."""
    entered = {"ANY", *zones}
    found = [
        each
        for each in others.policies
        if "HOST" in each.items("egress_zones")
        and entered.intersection(each.items("ingress_zones"))
        and is_here(_priority(each))
    ]
    return sorted(found, key=lambda each: (_priority(each), each.name))


def _priority(each: FirewalldObject) -> int:
    return int(str(each.settings["priority"]))


def _zones(packet: Packet, facts: PacketFacts, zones: Sequence[str]) -> Iterator[WalkStep]:
    """What each zone decides that the packet may arrive in; policies after it come before its
    target."""
    if facts.others is None:
        text = messages.not_read("firewalld's zones", facts.unread)
        yield WalkStep(Stage.ZONE, Fate.NOT_KNOWN, text)
        return
    if not zones:
        yield WalkStep(Stage.ZONE, Fate.NOT_KNOWN, messages.arrives_nowhere(facts.no_route))
        return
    where = messages.arrives_on(facts.interface)
    found = [_decide_zone(packet, facts.others, name) for name in zones]
    fates = {decision.fate for _what, decision in found}
    fate = fates.pop() if len(fates) == 1 else Fate.NOT_KNOWN
    words = "; ".join(messages.decided(what, decision) for what, decision in found)
    yield WalkStep(Stage.ZONE, fate, f"{where}; {words}")


def _decide_zone(packet: Packet, others: OtherRules, name: str) -> tuple[str, Decision]:
    zone = others.zones.get(name)
    if zone is None:
        return f"zone {name}", Decision(Fate.NOT_KNOWN)
    own = decide(zone, packet, others, target=False)
    if own.fate is not Fate.GOES_ON:
        return f"zone {name}", own.judged()
    maybe = own.maybe
    for each in _to_host(others, [name], lambda priority: priority > 0):
        decision = decide(each, packet, others)
        maybe += decision.maybe
        if decision.fate is not Fate.GOES_ON:
            decided = replace(decision, maybe=maybe).judged()
            return f"policy {each.name} after zone {name}", decided
    return f"zone {name}", decide_by_target(zone, packet, maybe).judged()

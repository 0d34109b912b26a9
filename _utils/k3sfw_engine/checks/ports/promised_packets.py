"""Promises as packets: what this node can ask of its peers, and what the answers mean. Pure.

The tables say what is promised, packets whether it is so. A promise may also be about addresses at
which no node asks: of those the tables are all that is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import netaddr

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.defaults import PORTS_ASKED_ONE_BY_ONE, PROMISED_PACKETS_TO_A_PEER
from k3sfw_engine.checks.ports.port_check import ProbeContext, judge_answer
from k3sfw_engine.checks.ports.questions_to_peers import Expect, Filter, PeerQuestion
from k3sfw_engine.checks.report import PromiseHere
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.packet_question import Answer, PacketQuestion
from k3sfw_engine.model.port_ranges import ZonePort
from k3sfw_engine.model.rows import (
    Node,
    Promise,
    PromisedPorts,
    PromiseSeverity,
    Protocol,
    Role,
    Tables,
)
from k3sfw_engine.plan.promise_messages import promise_problems
from k3sfw_engine.plan.promises import (
    PartReason,
    PromisePart,
    PromiseValue,
    PromiseVerdict,
    WantedSources,
    is_destination,
    judge_promises,
)
from k3sfw_engine.plan.reach import compute_reach


@dataclass(frozen=True)
class PromisedQuestion:
    """A packet that this node sends for a promise, and the answer that the promise expects."""

    promise: Promise
    question: PeerQuestion


def promised_questions(
    tables: Tables,
    own: Node,
    peers: Iterable[Node],
    only: Filter,
    turn: int,
    sources: Mapping[str, str],
) -> tuple[PromisedQuestion, ...]:
    """Every packet of a promise that this node can send to these peers.

    turn
        Selects which are asked of a peer if they are many.
    sources
        The address from which this node asks each address, as far as that is known.
    """
    firsts = {address.version: address for address in reversed(own.addresses)}
    wanted = WantedSources(tables)
    found: list[PromisedQuestion] = []
    for peer in peers:
        asked: list[PromisedQuestion] = []
        for address in peer.addresses:
            asking = firsts.get(address.version)
            if asking is not None:
                asking = netaddr.IPAddress(sources.get(str(address)) or asking)
                asked += _questions_to(tables, wanted, peer, address, asking, only)
        first = turn * PROMISED_PACKETS_TO_A_PEER % max(len(asked), 1)
        found += (asked[first:] + asked[:first])[:PROMISED_PACKETS_TO_A_PEER]
    return tuple(found)


def _questions_to(
    tables: Tables,
    wanted: WantedSources,
    peer: Node,
    address: netaddr.IPAddress,
    asking: netaddr.IPAddress,
    only: Filter,
) -> Iterator[PromisedQuestion]:
    for promise in tables.promises:
        if not is_destination(promise, peer):
            continue
        if asking not in wanted.of(promise, address.version):
            continue
        for expect, listed in ((Expect.OPEN, promise.accept), (Expect.CLOSED, promise.deny)):
            for each in listed:
                for port in ports_to_ask(each):
                    if only.wants_port(each.protocol, port):
                        question = PacketQuestion(str(address), each.protocol, port)
                        title = messages.test_title(promise.name)
                        yield PromisedQuestion(
                            promise, PeerQuestion(peer, str(address), question, expect, title)
                        )


def ports_to_ask(promised: PromisedPorts) -> Iterable[int]:
    """Return the ports that are asked: both ends of a long range; none where no program answers."""
    span = promised.ports
    if span is None or promised.protocol not in (Protocol.TCP, Protocol.UDP):
        return ()
    if span.high - span.low < PORTS_ASKED_ONE_BY_ONE:
        return range(span.low, span.high + 1)
    return (span.low, span.high)


def packets_beside(
    promised: Iterable[PromisedQuestion], asked: Iterable[PeerQuestion]
) -> tuple[PeerQuestion, ...]:
    """The packets of promises that no row asks."""
    known = set(map(_packet, asked))
    more: dict[_Packet, PeerQuestion] = {}
    for each in promised:
        if (packet := _packet(each.question)) not in known:
            more.setdefault(packet, each.question)
    return tuple(more.values())


_Packet = tuple[str, str, Protocol, int]


def _packet(question: PeerQuestion) -> _Packet:
    """What two questions share that send the same packet; one through the overlay has its own."""
    asked = question.question
    return question.peer.name, asked.address, asked.protocol, asked.port


# -- what the answers make of the promises ---------------------------------------------------------

# A packet that arrived where it must, and one that did not where it must not.
_AS_PROMISED = {Expect.OPEN: (Status.OK, Status.NO_LISTENER), Expect.CLOSED: (Status.OK,)}
_CONTRARY = {Expect.OPEN: (Status.BLOCKED, Status.NO_ANSWER), Expect.CLOSED: (Status.EXPOSED,)}


@dataclass(frozen=True)
class PromisedAnswer:
    """A promise's packet and its verdict.

    reported
        Whether the check of a row reports the same packet already.
    """

    asked: PromisedQuestion
    check: Check
    reported: bool = False

    @property
    def is_as_promised(self) -> bool:
        """Whether the packet arrived, or did not, as the promise says."""
        return self.check.status in _AS_PROMISED[self.asked.question.expect]

    @property
    def is_contrary(self) -> bool:
        """Whether the answer breaks the promise."""
        return self.check.status in _CONTRARY[self.asked.question.expect]


def judge_packets(
    promised: Iterable[PromisedQuestion],
    answers: Iterable[tuple[PeerQuestion, Answer]],
    checks: Iterable[tuple[PeerQuestion, Check]],
    context: ProbeContext,
) -> Iterator[PromisedAnswer]:
    """The verdict on each packet of a promise.

    answers
        What came back to each question, of rows too.
    checks
        The verdicts on the questions of rows.
    """
    came_back = {_packet(asked): answer for asked, answer in answers}
    told = {_packet(asked) for asked, check in checks if check.status is not Status.OK}
    for each in promised:
        packet = _packet(each.question)
        check = judge_answer(each.question, came_back[packet], context)
        yield PromisedAnswer(each, check, reported=packet in told)


def judge_on_node(
    tables: Tables,
    own: Node,
    answers: Iterable[PromisedAnswer],
    redirected: Iterable[Redirection] = (),
    opened_by_zones: Callable[[PromisePart], bool] = lambda _part: False,
    openings_for: Callable[[PromisedPorts, AddressSet], Sequence[str]] = lambda _ports, _from: (),
) -> tuple[tuple[PromiseHere, ...], tuple[Check, ...]]:
    """Judge every promise by the tables, by what is redirected and open here, and by packets.

    opened_by_zones
        Whether the operator's zones on this node open a part that a promise leaves to them.
    openings_for
        What in the operator's zones on this node lets in any of these sources at these ports.

    Returns what is known of each, and the verdicts for the report: on parts of which this node is a
    destination, and on packets.
    """
    known = [role for role in Role if role is own.role or tables.peer_rows is not None]
    ports = tuple({ZonePort(each.protocol, each.ports) for each in redirected})
    of_promise: dict[str, list[PromisedAnswer]] = {}
    for each in answers:
        of_promise.setdefault(each.asked.promise.name, []).append(each)
    found: list[PromiseHere] = []
    checks: list[Check] = []
    for verdict in judge_promises(tables, compute_reach(tables, known), {own.name: ports}):
        if verdict.is_left_out:
            continue
        answered = of_promise.get(verdict.promise.name, [])
        left = of_this_node(verdict, own)
        opened = bool(left) and all(map(opened_by_zones, left))
        if left:
            parts = (part for part in verdict.parts if part.reason is not PartReason.LEFT_TO_ZONES)
            verdict = replace(verdict, parts=(*parts, *(() if opened else left)))
        here = _here(verdict, answered, tables, by_zone=opened)
        found.append(_unless_opened(here, verdict.promise, own, tables, openings_for))
        checks += _checks(verdict, own, answered, tables)
    return tuple(found), tuple(checks)


def of_this_node(verdict: PromiseVerdict, own: Node) -> tuple[PromisePart, ...]:
    """Return the parts that the zones of this node decide; each node speaks of its own alone."""
    return tuple(
        part
        for part in verdict.parts
        if part.reason is PartReason.LEFT_TO_ZONES and own.name in part.nodes
    )


def _here(
    verdict: PromiseVerdict,
    answered: Iterable[PromisedAnswer],
    tables: Tables,
    *,
    by_zone: bool = False,
) -> PromiseHere:
    contrary = [each.check for each in answered if each.is_contrary]
    value = PromiseValue.BROKEN if contrary else verdict.value
    packets = sum(each.is_as_promised for each in answered)
    problems = promise_problems(verdict, tables)
    if contrary:
        problems = (messages.broken_by_packets(contrary), *problems)
    by = "a zone" if by_zone else "the tables"
    summary = messages.promise_in_short(value, packets, problems, by)
    is_warning = verdict.promise.severity is PromiseSeverity.WARN
    return PromiseHere(verdict.promise.name, value, packets, problems, summary, is_warning)


def _unless_opened(
    here: PromiseHere,
    promise: Promise,
    own: Node,
    tables: Tables,
    openings_for: Callable[[PromisedPorts, AddressSet], Sequence[str]],
) -> PromiseHere:
    """Return it as unproven if the tables keep it and a zone of this node lets in a source."""
    if here.value is not PromiseValue.KEPT or not promise.deny:
        return here
    if not is_destination(promise, own):
        return here
    sources = WantedSources(tables)
    both = [sources.of(promise, family) for family in FAMILIES]
    for ports in promise.deny:
        opened = dict.fromkeys(
            name for wanted in both if wanted for name in openings_for(ports, wanted)
        )
        if opened:
            problem = messages.denied_and_opened(str(ports), own.name, list(opened))
            value = PromiseValue.UNPROVEN
            summary = messages.promise_in_short(value, here.packets, (problem,), "the tables")
            return replace(here, value=value, problems=(problem,), summary=summary)
    return here


def _checks(
    verdict: PromiseVerdict, own: Node, answered: Iterable[PromisedAnswer], tables: Tables
) -> Iterator[Check]:
    promise = verdict.promise
    is_warning = promise.severity is PromiseSeverity.WARN
    for each in answered:
        if each.is_contrary and not each.reported:
            yield replace(each.check, status=Status.CONFLICT) if is_warning else each.check
    for reason, (status, expect) in _REPORTED.items():
        parts = tuple(
            part for part in verdict.parts if part.reason is reason and own.name in part.nodes
        )
        of_reason = replace(verdict, parts=parts, absent=(), tests_nothing=False)
        for problem in promise_problems(of_reason, tables):
            yield Check(
                source="",
                to=own.name,
                description=messages.test_title(promise.name),
                status=Status.CONFLICT if is_warning else status,
                expect=expect.value,
                evidence=problem.text,
                fix=problem.fix,
            )


_REPORTED = {
    PartReason.LET_IN: (Status.EXPOSED, Expect.CLOSED),
    PartReason.NOT_LET_IN: (Status.BLOCKED, Expect.OPEN),
    PartReason.REDIRECTED: (Status.CONFLICT, Expect.CLOSED),
}

"""What a node said about a packet's way, and what the packet itself showed, side by side.

Both are answers of minions: read strictly, bounded, and only shown. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.defaults import LONGEST_TEXT, MOST_STEPS

# The fates of a step that end the walk, and whether the packet then gets to a program here.
_GETS_IN = {"allowed": True, "rejected": False, "dropped": False}
# What a packet showed, by its status: whether it got past the firewall of the other node. Silence
# of a host that is not down is not the way of a packet that is let in.
_GOT_IN = {"exposed": True, "no_listener": True, "blocked": False, "no_answer": False}


@dataclass(frozen=True)
class ToldStep:
    """One step as the node told it."""

    at: str
    fate: str
    why: str


@dataclass(frozen=True)
class NodeWalk:
    """What the asked node said: what its rows say, the steps, and where the packet ends."""

    verdict: str
    source: tuple[str, ...]
    decision: ToldStep
    steps: tuple[ToldStep, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "verdict": self.verdict,
            "source": list(self.source),
            "decision": vars(self.decision),
            "walk": [vars(step) for step in self.steps],
        }


@dataclass(frozen=True)
class SentPacket:
    """What one packet of the asking node showed."""

    address: str
    expect: str
    status: str
    by: str
    evidence: str
    hint: str

    @property
    def got_in(self) -> bool | None:
        """Whether it got past the firewall of the other node; ``None`` if it does not show that."""
        if self.status == "ok":
            return {"open": True, "closed": False}.get(self.expect)
        return _GOT_IN.get(self.status)


def read_walk(raw: object, node: str) -> NodeWalk:
    """Read what a node answered to ``k3sfw.explain``.

    Raises ``EngineError`` if it is not such an answer.
    """
    if isinstance(raw, Mapping) and isinstance(raw.get("walk"), Sequence):
        steps = tuple(map(_step, list(raw["walk"])[:MOST_STEPS]))
        source = raw.get("source")
        names = source if isinstance(source, (list, tuple)) else ()
        decision = _step(raw.get("decision"))
        return NodeWalk(_text(raw.get("verdict")), tuple(map(_text, names)), decision, steps)
    lines = _text(raw if isinstance(raw, str) else "").strip().splitlines()
    raise EngineError(
        [
            Problem(
                f"{node} did not explain the packet"
                + (f": {lines[-1]}" if lines else ", or it has another version of k3sfw"),
                f"salt {node} saltutil.sync_all, then ask again",
            )
        ]
    )


def read_packets(raw: object, source: str, to: str, address: str) -> tuple[SentPacket, ...]:
    """Read what a node answered to ``k3sfw.check_ports``: its packets to this address.

    Raises ``EngineError`` if it is not such an answer.
    """
    checks = raw.get("checks") if isinstance(raw, Mapping) else None
    if not isinstance(checks, Sequence) or isinstance(checks, str):
        said = raw.get("problems") if isinstance(raw, Mapping) else raw
        raise EngineError([f"{source} sent no packet: {_text(said)}"])
    found = [
        each
        for each in checks
        if isinstance(each, Mapping)
        and (each.get("from"), each.get("to"), each.get("address")) == (source, to, address)
    ]
    columns = ("address", "expect", "status", "by", "evidence", "hint")
    return tuple(SentPacket(*(_text(each.get(name)) for name in columns)) for each in found)


def contradictions(walk: NodeWalk, packets: Iterable[SentPacket], to: str) -> Iterator[Problem]:
    """What the packets show and the walk does not explain."""
    expected = _GETS_IN.get(walk.decision.fate)
    for packet in packets:
        if expected is None or packet.got_in is None or packet.got_in is expected:
            continue
        if expected:
            yield Problem(
                f"firewalld on {to} allows the packet, and it did not get in ({packet.evidence}): "
                "something that firewalld does not know of holds it up, on the way or on the host",
                f"salt {to} k3sfw.check_routes",
            )
        else:
            yield Problem(
                f"firewalld on {to} does not allow the packet, and it got in ({packet.evidence}): "
                "a rule that firewalld does not know of lets it in",
                f"salt {to} cmd.run 'nft list ruleset'",
            )


def _step(raw: object) -> ToldStep:
    found = raw if isinstance(raw, Mapping) else {}
    return ToldStep(*(_text(found.get(name)) for name in ("at", "fate", "why")))


def _text(value: object) -> str:
    return "" if value is None else str(value)[:LONGEST_TEXT]

"""Record in the kernel which packets left this host, which arrived, and which of those passed.

A socket cannot tell whether a packet that met silence ever left this host, nor where it went; and
no socket sees the packets of peers that this host drops. A table of our own with sets that fill
themselves shows both, for any protocol and without a listener. The table belongs to the nft process
that created it (``flags owner``, Linux 5.12), which ends with this process: however this one ends,
the kernel removes the table.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.host.nft_command import list_table, start_interactive
from k3sfw_engine.model.packet_question import (
    NO_PORT,
    Arrival,
    PacketQuestion,
    RecordedPackets,
)
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.probes.defaults import RECORDER_READY, REMEMBERED_PACKETS, REMEMBERED_SECONDS

_FAMILIES = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
# Packets keep arriving while we watch, and are forgotten; our own questions are not.
_SETS = {
    "arrived": f"flags dynamic,timeout; timeout {REMEMBERED_SECONDS}s;",
    "passed": f"flags dynamic,timeout; timeout {REMEMBERED_SECONDS}s;",
    "left": "flags dynamic;",
    "redirected": "flags dynamic;",
}
# The same for protocols that have no ports.
_WHOLE_SETS = {
    "whole_arrived": _SETS["arrived"],
    "whole_passed": _SETS["passed"],
}
_WHOLE = (
    "meta nfproto ipv{family} meta l4proto @whole "
    "update @{name}{family} {{ {ip} saddr . meta l4proto }}"
)
# What is for this host, multicast to groups that it has joined included: before firewalld's rules,
# and behind them.
_WHOLE_CHAINS = {
    "whole_arriving": ("input priority -310", "whole_arrived"),
    "whole_accepted": ("input priority 90", "whole_passed"),
}

# New connections only: packets of an existing one pass any firewall.
_NEW = ("meta l4proto tcp tcp flags & (syn | ack) == syn", "meta l4proto udp")
_WATCHED = "meta l4proto . th dport @watched"
_ASKED = "meta l4proto . ct original proto-dst @asked"
_CAME = "{{ {ip} saddr . meta l4proto . th dport }}"
# As it was sent, wherever NAT redirected it since.
_SENT = "{{ ct original {ip} saddr . meta l4proto . ct original proto-dst }}"
_WENT = "{{ ct original {ip} daddr . meta l4proto . ct original proto-dst }}"
_PLAIN = "{{ {ip} daddr . meta l4proto . th dport }}"
# Hook and priority, and the rules for each family and protocol. Before everything else at
# prerouting; behind firewalld's rules at input, but before IPVS takes packets to a service; and
# last at postrouting.
_CHAINS = {
    "arriving": (
        "prerouting priority -310",
        (f"{{match}} fib daddr type local {_WATCHED} update @arrived{{family}} {_CAME}",),
    ),
    "accepted": (
        "input priority 90",
        (
            f"{{match}} update @passed{{family}} {_SENT}",
            f"{{match}} {_WATCHED} ct state untracked update @passed{{family}} {_CAME}",
            # WireGuard sends from the port on which it listens, so a packet that a peer sends by
            # itself may be the reply in a flow that this host began.
            f"{{match}} {_WATCHED} ct direction reply update @passed{{family}} {_CAME}",
        ),
    ),
    "forwarded": (
        "forward priority 200",
        (f"{{match}} update @passed{{family}} {_SENT}",),
    ),
    "leaving": (
        "postrouting priority 400",
        (
            f"{{match}} {_ASKED} add @left{{family}} {_WENT}",
            f"{{match}} {_ASKED} ct status dnat add @redirected{{family}} {_WENT}",
            "{match} meta l4proto . th dport @asked ct state untracked "
            f"add @left{{family}} {_PLAIN}",
        ),
    ),
}


@dataclass
class PacketRecorder:
    """Records while the ``with`` block lasts; ``armed`` tells whether it can.

    watched
        The ports of this node whose arriving packets are recorded.
    asked
        The questions whose leaving packets are recorded.
    whole
        The protocols without ports whose arriving packets are recorded.
    """

    watched: Iterable[tuple[Protocol, PortRange]]
    asked: Iterable[PacketQuestion]
    whole: Iterable[Protocol] = ()
    armed: bool = field(default=False, init=False)

    def __enter__(self) -> PacketRecorder:
        self._table = f"k3sfw_witness_{os.getpid()}"
        try:
            self._nft = start_interactive()
        except FirewalldUnavailable:
            return self
        try:
            assert self._nft.stdin is not None
            text = command(self._table, self.watched, self.asked, self.whole)
            self._nft.stdin.write(text.encode())
            self._nft.stdin.flush()
            self.armed = self._is_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if hasattr(self, "_nft"):
            self._end()

    def read(self) -> RecordedPackets | None:
        """The packets that were recorded until now; ``None`` if nothing was recorded."""
        try:
            listing = list_table("inet", self._table, numeric=True) if self.armed else None
        except FirewalldUnavailable:  # The answers count without it.
            return None
        return None if listing is None else read_recorded(listing)

    def _is_ready(self) -> bool:
        """Whether the table exists; an older kernel or nft refuses it, and complains."""
        deadline = time.monotonic() + RECORDER_READY
        complaints = self._nft.stderr
        assert complaints is not None
        while time.monotonic() < deadline and self._nft.poll() is None:
            try:
                if list_table("inet", self._table) is not None:
                    return True
            except FirewalldUnavailable:
                return False
            if select.select([complaints], [], [], 0.005)[0]:
                return False
        return False

    def _end(self) -> None:
        self._nft.kill()
        self._nft.communicate()


def command(
    table: str,
    watched: Iterable[tuple[Protocol, PortRange]],
    asked: Iterable[PacketQuestion],
    whole: Iterable[Protocol] = (),
) -> str:
    """The command for nft, on one line, that creates the whole table; its parts are typed."""
    ports = {
        "watched": [f"{protocol.value} . {span}" for protocol, span in watched],
        "asked": sorted({f"{each.protocol.value} . {each.port}" for each in asked}),
    }
    parts = ["flags owner"]
    for name, elements in ports.items():
        kind = "inet_proto . inet_service; flags interval;"
        parts.append(f"set {name} {{ type {kind}{_content(elements)} }}")
    numbers = sorted(str(each.number) for each in whole)
    parts.append(f"set whole {{ type inet_proto;{_content(numbers)} }}")
    for family, (_ip, kind) in _FAMILIES.items():
        for name, flags in {**_SETS, **_WHOLE_SETS}.items():
            port = " . inet_service" if name in _SETS else ""
            parts.append(
                f"set {name}{family} {{ type {kind} . inet_proto{port}; "
                f"size {REMEMBERED_PACKETS}; {flags} }}"
            )
    for name, (hook, rules) in _CHAINS.items():
        lines = [
            rule.format(ip=ip, family=family, match=f"meta nfproto ipv{family} {match}")
            for rule in rules
            for family, (ip, _kind) in _FAMILIES.items()
            for match in _NEW
        ]
        parts.append(_chain(name, hook, lines))
    for name, (hook, into) in _WHOLE_CHAINS.items():
        lines = [
            _WHOLE.format(ip=ip, family=family, name=into)
            for family, (ip, _kind) in _FAMILIES.items()
        ]
        parts.append(_chain(name, hook, lines))
    return f"table inet {table} {{ {'; '.join(parts)}; }}\n"


def _content(elements: Sequence[str]) -> str:
    return f" elements = {{ {', '.join(elements)} }};" if elements else ""


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    return f"chain {name} {{ type filter hook {hook}; {'; '.join(rules)}; }}"


def read_recorded(listing: bytes) -> RecordedPackets:
    """Read nft's listing of the table."""
    seen: dict[str, set[tuple[str, Protocol, int]]] = {
        name: set() for name in (*_SETS, *_WHOLE_SETS)
    }
    for item in json.loads(listing)["nftables"]:
        found = item.get("set", {})
        for element in found.get("elem", ()) if found.get("name", "")[:-1] in seen else ():
            # Only an element with a timeout is wrapped.
            packet = element["elem"]["val"] if "elem" in element else element
            address, protocol, *port = packet["concat"]
            known = protocol_of_number(protocol)
            seen[found["name"][:-1]].add((str(address), known, port[0] if port else NO_PORT))
    return RecordedPackets(
        frozenset(Arrival(*packet) for packet in seen["arrived"] | seen["whole_arrived"]),
        frozenset(Arrival(*packet) for packet in seen["passed"] | seen["whole_passed"]),
        frozenset(PacketQuestion(*packet) for packet in seen["left"]),
        frozenset(PacketQuestion(*packet) for packet in seen["redirected"]),
    )

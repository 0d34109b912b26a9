"""A witness in the kernel: which packets left, which arrived, and which of those got through.

Where a packet meets silence, a socket cannot tell whether it ever left this host, nor where to; and
what this host refuses of its peers' new packets no socket sees at all. A table of our own with sets
that fill themselves does, for any protocol and without a listener. The table belongs to the nft
process that made it (``flags owner``, Linux 5.12), which ends with this process: however this one
ends, the kernel removes the table.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.host.nft_command import list_table, start_interactive
from k3sfw_engine.model.packet_question import Arrival, PacketQuestion, RecordedPackets
from k3sfw_engine.model.rows import PortRange, Protocol

_READY_WITHIN = 2.0
# Of what peers send here, a packet remembered is one of the last minute; there are not more than
# this.
_REMEMBERED = 60
_MOST = 65535

_FAMILIES = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
# What arrives goes on while we watch, and is forgotten; what we ask ourselves is not.
_SETS = {
    "arrived": f"flags dynamic,timeout; timeout {_REMEMBERED}s;",
    "passed": f"flags dynamic,timeout; timeout {_REMEMBERED}s;",
    "left": "flags dynamic;",
    "redirected": "flags dynamic;",
}

# New ones only: what belongs to a standing connection passes any firewall.
_NEW = ("meta l4proto tcp tcp flags & (syn | ack) == syn", "meta l4proto udp")
_WATCHED = "meta l4proto . th dport @watched"
_ASKED = "meta l4proto . ct original proto-dst @asked"
_CAME = "{{ {ip} saddr . meta l4proto . th dport }}"
# As it was sent, whatever it was redirected to since.
_SENT = "{{ ct original {ip} saddr . meta l4proto . ct original proto-dst }}"
_WENT = "{{ ct original {ip} daddr . meta l4proto . ct original proto-dst }}"
_PLAIN = "{{ {ip} daddr . meta l4proto . th dport }}"
# Hook and priority, and the rules for each family and protocol. Before everything else at
# prerouting; behind firewalld's rules at input, and before IPVS takes what is for a service; and at
# the very end of the way out.
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
            # WireGuard asks from the port on which it is asked, so what a peer sends by itself may
            # be the answer in a flow that this host began.
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
    """Watches for as long as the block lasts. ``armed`` tells whether it could.

    watched
        The ports of this node of which it keeps what arrives.
    asked
        The questions of which it keeps whether they left.
    """

    watched: Iterable[tuple[Protocol, PortRange]]
    asked: Iterable[PacketQuestion]
    armed: bool = field(default=False, init=False)

    def __enter__(self) -> PacketRecorder:
        self._table = f"k3sfw_witness_{os.getpid()}"
        try:
            self._nft = start_interactive()
        except FirewalldUnavailable:
            return self
        try:
            assert self._nft.stdin is not None
            self._nft.stdin.write(command(self._table, self.watched, self.asked).encode())
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

    def sighting(self) -> RecordedPackets | None:
        """What was seen until now; ``None`` if nobody watched."""
        try:
            listing = list_table("inet", self._table) if self.armed else None
        except FirewalldUnavailable:  # The answers count without it.
            return None
        return None if listing is None else read_recorded(listing)

    def _is_ready(self) -> bool:
        """Whether the table is there; an older kernel or nft refuses it, and says so."""
        deadline = time.monotonic() + _READY_WITHIN
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
    table: str, watched: Iterable[tuple[Protocol, PortRange]], asked: Iterable[PacketQuestion]
) -> str:
    """The command for nft, on one line, that makes the table at once; its parts are ours."""
    ports = {
        "watched": [f"{protocol.value} . {span}" for protocol, span in watched],
        "asked": sorted({f"{each.protocol.value} . {each.port}" for each in asked}),
    }
    parts = ["flags owner"]
    for name, elements in ports.items():
        content = f" elements = {{ {', '.join(elements)} }};" if elements else ""
        parts.append(f"set {name} {{ type inet_proto . inet_service; flags interval;{content} }}")
    for family, (_ip, kind) in _FAMILIES.items():
        for name, flags in _SETS.items():
            parts.append(
                f"set {name}{family} {{ type {kind} . inet_proto . inet_service; size {_MOST}; "
                f"{flags} }}"
            )
    for name, (hook, rules) in _CHAINS.items():
        lines = [
            rule.format(ip=ip, family=family, match=f"meta nfproto ipv{family} {match}")
            for rule in rules
            for family, (ip, _kind) in _FAMILIES.items()
            for match in _NEW
        ]
        parts.append(f"chain {name} {{ type filter hook {hook}; {'; '.join(lines)}; }}")
    return f"table inet {table} {{ {'; '.join(parts)}; }}\n"


def read_recorded(listing: bytes) -> RecordedPackets:
    """Turn nft's listing of the table into what was seen."""
    seen: dict[str, set[tuple[str, Protocol, int]]] = {name: set() for name in _SETS}
    for item in json.loads(listing)["nftables"]:
        found = item.get("set", {})
        for element in found.get("elem", ()) if found.get("name", "")[:-1] in seen else ():
            # Only an element with a time-out is wrapped.
            packet = element["elem"]["val"] if "elem" in element else element
            address, protocol, port = packet["concat"]
            seen[found["name"][:-1]].add((str(address), Protocol(protocol), int(port)))
    return RecordedPackets(
        frozenset(Arrival(*packet) for packet in seen["arrived"]),
        frozenset(Arrival(*packet) for packet in seen["passed"]),
        frozenset(PacketQuestion(*packet) for packet in seen["left"]),
        frozenset(PacketQuestion(*packet) for packet in seen["redirected"]),
    )

"""A witness in the kernel: which packets left, which arrived, and which of those got through.

Where a packet meets silence, a socket cannot tell whether it ever left this host, or whether this
host dropped what came back. A table of our own with three sets that fill themselves can, for any
protocol and without a listener. The table belongs to the nft process that made it (``flags owner``,
Linux 5.12), which ends with this process: however this one ends, the kernel removes the table.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

from .answers import Question
from .errors import FirewalldUnavailable
from .nft import list_table, start_interactive
from .peers import Arrival
from .rows import PortRange, Protocol

_READY_WITHIN = 2.0
# A packet remembered is one of the last minute, and there are not more of them than this.
_REMEMBERED = 60
_MOST = 65535

_SETS = ("arrived", "passed", "left")
_FAMILIES = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}

# New ones only: what belongs to a standing connection passes any firewall.
_NEW = ("meta l4proto tcp tcp flags & (syn | ack) == syn", "meta l4proto udp")
_ASKED = "meta l4proto . th dport @ports"
_CAME = "{{ {ip} saddr . meta l4proto . th dport }}"
# As it was sent, whatever it was redirected to since.
_SENT = "{{ ct original {ip} saddr . meta l4proto . ct original proto-dst }}"
# Hook and priority, and the rules for each family and protocol. Before everything else at
# prerouting; behind firewalld's and most others' rules at input and forward; and at the very end
# of the way out.
_CHAINS = {
    "arriving": (
        "prerouting priority -310",
        (f"{{match}} {_ASKED} update @arrived{{family}} {_CAME}",),
    ),
    "accepted": (
        "input priority 200",
        (
            f"{{match}} update @passed{{family}} {_SENT}",
            f"{{match}} {_ASKED} ct state untracked update @passed{{family}} {_CAME}",
        ),
    ),
    "forwarded": (
        "forward priority 200",
        (f"{{match}} update @passed{{family}} {_SENT}",),
    ),
    "leaving": (
        "postrouting priority 400",
        ("{match} update @left{family} {{ {ip} daddr . meta l4proto . th dport }}",),
    ),
}


@dataclass(frozen=True)
class Sighting:
    """What the witness saw."""

    arrived: frozenset[Arrival] = frozenset()
    passed: frozenset[Arrival] = frozenset()
    left: frozenset[Question] = frozenset()


@dataclass
class Witness:
    """Watches for as long as the block lasts. ``armed`` tells whether it could."""

    ports: Iterable[tuple[Protocol, PortRange]]
    armed: bool = field(default=False, init=False)

    def __enter__(self) -> Witness:
        self._table = f"k3sfw_witness_{os.getpid()}"
        ports = tuple(self.ports)
        if not ports:
            return self
        try:
            self._nft = start_interactive()
        except FirewalldUnavailable:
            return self
        try:
            assert self._nft.stdin is not None
            self._nft.stdin.write(command(self._table, ports).encode())
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

    def sighting(self) -> Sighting | None:
        """What was seen until now; ``None`` if nobody watched."""
        if not self.armed:
            return None
        listing = list_table("inet", self._table)
        return None if listing is None else read_sighting(listing)

    def _is_ready(self) -> bool:
        """Whether the table is there; an older kernel or nft refuses it, and says so."""
        deadline = time.monotonic() + _READY_WITHIN
        complaints = self._nft.stderr
        assert complaints is not None
        while time.monotonic() < deadline and self._nft.poll() is None:
            if list_table("inet", self._table) is not None:
                return True
            if select.select([complaints], [], [], 0.005)[0]:
                return False
        return False

    def _end(self) -> None:
        self._nft.kill()
        self._nft.communicate()


def command(table: str, ports: Iterable[tuple[Protocol, PortRange]]) -> str:
    """The command for nft, on one line, that makes the table at once; its parts are ours."""
    elements = ", ".join(f"{protocol.value} . {span}" for protocol, span in ports)
    parts = [
        "flags owner",
        "set ports { type inet_proto . inet_service; flags interval; "
        f"elements = {{ {elements} }}; }}",
    ]
    for family, (_ip, kind) in _FAMILIES.items():
        for name in _SETS:
            parts.append(
                f"set {name}{family} {{ type {kind} . inet_proto . inet_service; size {_MOST}; "
                f"flags dynamic,timeout; timeout {_REMEMBERED}s; }}"
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


def read_sighting(listing: bytes) -> Sighting:
    """Turn nft's listing of the table into what was seen."""
    seen: dict[str, set[tuple[str, Protocol, int]]] = {name: set() for name in _SETS}
    for item in json.loads(listing)["nftables"]:
        found = item.get("set", {})
        for element in found.get("elem", ()) if found.get("name", "")[:-1] in seen else ():
            address, protocol, port = element["elem"]["val"]["concat"]
            seen[found["name"][:-1]].add((str(address), Protocol(protocol), int(port)))
    return Sighting(
        frozenset(Arrival(*packet) for packet in seen["arrived"]),
        frozenset(Arrival(*packet) for packet in seen["passed"]),
        frozenset(Question(*packet) for packet in seen["left"]),
    )

"""New connections between hosts, some each second, for as long as something is changed.

Of each connection is known when it began, whether it succeeded, and whether a packet of it had to
be sent again: a firewall that drops for a moment shows as that, and one that rejects as an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.host import Host

_DRIVER = Path(__file__).with_name("connection_driver.py")


@dataclass(frozen=True)
class Way:
    """A client, a server, and a port of it that it reaches, or must not reach."""

    client: str
    server: str
    port: int
    is_open: bool


@dataclass
class Watched:
    """What became of the connections; complete after the block."""

    # By way: [when it began, "open", "again" for open after a packet was sent again, or an error].
    seen: dict[Way, list[tuple[float, str]]] = field(default_factory=dict)

    def counts(self, way: Way) -> Counter[str]:
        """How many connections came to which end."""
        return Counter(outcome for _at, outcome in self.seen[way])

    def wrong(self) -> dict[Way, Counter[str]]:
        """The ways on which a connection failed that is allowed, or succeeded that is not."""
        return {
            way: self.counts(way)
            for way in self.seen
            if any((outcome in ("open", "again")) != way.is_open for _at, outcome in self.seen[way])
        }

    def wrong_at(self) -> list[float]:
        """When connections began that failed though they are allowed, or succeeded though not."""
        return sorted(
            at
            for way, outcomes in self.seen.items()
            for at, outcome in outcomes
            if (outcome in ("open", "again")) != way.is_open
        )

    def held_up(self) -> float:
        """The seconds between the first and the last begin of a connection that had to wait."""
        times = [
            at
            for way, outcomes in self.seen.items()
            for at, outcome in outcomes
            if way.is_open and outcome != "open"
        ]
        return max(times) - min(times) if times else 0.0

    def waited(self) -> int:
        """How many connections had to send a packet again."""
        return sum(self.counts(way)["again"] for way in self.seen if way.is_open)


@contextmanager
def watched(hosts: dict[str, Host], ways: Sequence[Way]) -> Iterator[Watched]:
    """Open connections on these ways during the block; each way is tried before it."""
    result = Watched()
    with ExitStack() as stack:
        for server in sorted({way.server for way in ways}):
            ports = sorted({way.port for way in ways if way.server == server})
            _driver(stack, hosts[server], "answer", *map(str, ports))
        askers = {}
        for client in sorted({way.client for way in ways}):
            own = [way for way in ways if way.client == client]
            targets = [f"{hosts[way.server].ipv4}:{way.port}" for way in own]
            askers[client] = own, _driver(stack, hosts[client], "ask", *targets)
        try:
            yield result
            # What the last change did must show.
            time.sleep(1)
        finally:
            for _own, asker in askers.values():
                asker.terminate()
            for own, asker in askers.values():
                outcomes = json.loads(asker.communicate(timeout=60)[0])
                result.seen.update(
                    {way: [(at, what) for at, what in each] for way, each in zip(own, outcomes)}
                )
    for way in ways:
        assert len(result.seen[way]) > 5, way


def _driver(stack: ExitStack, host: Host, *words: str) -> subprocess.Popen[str]:
    """Start one of its two parts, and wait until it is at work."""
    command = [sys.executable, str(_DRIVER), *words]
    driver = stack.enter_context(host.popen(command, stdout=subprocess.PIPE))
    stack.callback(driver.kill)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "at work\n", f"{words} on {host.name}"
    return driver

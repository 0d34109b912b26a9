"""Asks from every source to every target at once, and compares the answers with what should be.

Knows nothing of the port tables: what should be open it is told.
"""

import itertools
import json
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.k3s import responder

HERE = Path(__file__).parent
PYTHON = (sys.executable, "-I", "-S")
PROTOCOLS = ("tcp", "udp")

# A closed port may look like silence, as errors are rate-limited; an open one answers at once.
PATIENCE = 1.0
# What should have answered and kept silent is asked once more: the machine may have been busy.
SECOND_PATIENCE = 5.0
# The port from which each round asks by UDP. A packet from one of an earlier round could belong to
# a flow that the firewall let in then, and still lets in.
UDP_PORTS = itertools.count(20000)


@dataclass(frozen=True)
class Source:
    """Addresses from which questions are asked, and the kind of source that the tables know."""

    name: str
    kind: str
    host: object = field(repr=False)
    addresses: tuple
    inside: tuple = ()


def host_as_source(host):
    """A host of the lab as the tables know it."""
    kind = "outsider" if host.role == "plain" else host.role
    return Source(host.name, kind, host, (host.ipv4, host.ipv6))


@dataclass(frozen=True)
class Target:
    """A node that is asked."""

    name: str
    role: str
    addresses: tuple


@dataclass(frozen=True)
class Question:
    """Whether this port of the target can be reached from the source, by a new connection."""

    source: Source
    target: Target
    source_address: str
    address: str
    protocol: str
    port: int
    # Who must answer, where that is not the target itself but what it redirects to.
    answerer: str = ""

    @property
    def family(self):
        return 6 if ":" in self.address else 4

    @property
    def service(self):
        return f"{self.protocol}/{self.port}"

    @property
    def answer(self):
        return self.answerer or f"{self.target.name} {self.service}"


@contextmanager
def responding(host, ports):
    """Listen on these ports of a host, by TCP and UDP, IPv4 and IPv6."""
    with responding_as(host.name, host, (host.ipv4, host.ipv6), ports):
        yield


@contextmanager
def responding_as(name, host, addresses, ports, inside=()):
    """The same with another name and other addresses, such as those of a pod inside the host."""
    given = {"name": name, "addresses": addresses, "ports": sorted(ports)}
    command = [*inside, *PYTHON, responder.__file__, json.dumps(given)]
    with host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            first_line = process.stdout.readline()
            assert first_line == "ready\n", first_line + process.stdout.read()
            yield
        finally:
            process.terminate()


def pairs(sources, hosts):
    """Each source with every host but its own; a pod inside of a host asks only that one."""
    return [
        (source, Target(host.name, host.role, (host.ipv4, host.ipv6)))
        for source in sources
        for host in hosts
        if (host == source.host) == bool(source.inside)
    ]


def check(pairs, ports, is_open):
    """Ask on all of these ports, and fail with whatever is not as it should be."""
    report(ask(questions(pairs, ports), is_open), is_open)


def report(verdicts, is_open):
    """Fail if there is a difference; all of them are in the message."""
    found = differences(verdicts, is_open)
    # Not by comparing lists, of which pytest would show the first lines only.
    assert not found, "\n".join(["These packets went otherwise than they should:", *found])


def questions(pairs, ports):
    """Every port, protocol and family for each pair of a source and a target."""
    return [
        Question(source, target, from_address, to_address, protocol, port)
        for source, target in pairs
        for from_address in source.addresses
        for to_address in target.addresses
        if (":" in from_address) == (":" in to_address)
        for protocol in PROTOCOLS
        for port in sorted(ports)
    ]


def ask(asked, is_open):
    """The verdict on each question; ``is_open`` tells which of them must not stay unanswered."""
    verdicts = _ask(asked, PATIENCE)
    again = [each for each in asked if verdicts[each] == "silence" and is_open(each)]
    return {**verdicts, **_ask(again, SECOND_PATIENCE)}


def differences(verdicts, is_open):
    """The differences from what should be reachable, one line for each service."""
    found, evidence = defaultdict(lambda: defaultdict(set)), defaultdict(set)
    for asked, verdict in verdicts.items():
        if (verdict == "open") != is_open(asked):
            wrong = (f"{asked.service} over IPv{asked.family}", verdict == "open")
            found[wrong][asked.source.name].add(asked.target.name)
            evidence[wrong].add(verdict)
    lines = []
    for wrong, targets in sorted(found.items()):
        service, opened = wrong
        closed = f"closed ({', '.join(sorted(evidence[wrong]))}), should be open"
        how = "open, should be closed" if opened else closed
        who = "; ".join(f"{name} -> {' '.join(sorted(targets[name]))}" for name in sorted(targets))
        lines.append(f"{service} {how}: {who}")
    return lines


def _ask(asked, timeout):
    by_place = defaultdict(list)
    for question in asked:
        by_place[question.source.host.name, question.source.inside].append(question)
    if not by_place:
        return {}
    how = {"timeout": timeout, "udp_port": next(UDP_PORTS)}
    with ThreadPoolExecutor(max_workers=len(by_place)) as pool:
        answers = pool.map(lambda some: _ask_from_one_place(some, how), by_place.values())
        return {question: verdict for each in answers for question, verdict in each.items()}


def _ask_from_one_place(asked, how):
    lines = [
        (each.protocol, each.source_address, each.address, each.port, each.answer) for each in asked
    ]
    done = asked[0].source.host.run(
        [*asked[0].source.inside, *PYTHON, str(HERE / "prober.py")],
        input=json.dumps({**how, "questions": lines}),
    )
    return dict(zip(asked, json.loads(done.stdout)))

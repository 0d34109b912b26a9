"""What an errno and an ICMP error mean together: the measured table, read with the eye."""

from __future__ import annotations

import errno

import pytest

from k3sfw_engine.model.packet_question import IcmpError, PacketQuestion, ProbeResult, failed
from k3sfw_engine.model.rows import Protocol

OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
TARGET = {4: "192.0.2.2", 6: "2001:db8::2"}
ROUTER = {4: "192.0.2.254", 6: "2001:db8::fe"}
TCP, UDP = Protocol.TCP, Protocol.UDP


def read(protocol, number, icmp=None, version=4):
    question = PacketQuestion(TARGET[version], protocol, 7000)
    return failed(question, number, OWN[version], icmp).outcome


@pytest.mark.parametrize(
    ("protocol", "number", "sender", "codes", "outcome"),
    [
        # errno, who sent which code by IPv4 and by IPv6; none: the error queue was empty
        (TCP, errno.ECONNREFUSED, None, None, ProbeResult.NOTHING_LISTENS),
        (UDP, errno.ECONNREFUSED, TARGET, (3, 4), ProbeResult.NOTHING_LISTENS),
        (TCP, errno.ECONNREFUSED, TARGET, (3, 4), ProbeResult.REJECTED),
        (TCP, errno.EHOSTUNREACH, TARGET, (13, 1), ProbeResult.REJECTED),
        (UDP, errno.EHOSTUNREACH, TARGET, (13, 1), ProbeResult.REJECTED),
        (TCP, errno.EHOSTUNREACH, ROUTER, (13, 1), ProbeResult.REJECTED),
        # Not the target's own word on its port.
        (UDP, errno.ECONNREFUSED, ROUTER, (3, 4), ProbeResult.REJECTED),
        (TCP, errno.EHOSTUNREACH, OWN, (1, 3), ProbeResult.HOST_DOWN),
        (TCP, errno.EHOSTUNREACH, ROUTER, (1, 3), ProbeResult.HOST_DOWN),
        (TCP, errno.ENETUNREACH, ROUTER, (0, 0), ProbeResult.NO_ROUTE),
        (TCP, errno.EHOSTUNREACH, OWN, (13, 1), ProbeResult.LOCAL_BLOCK),
        (UDP, errno.EPERM, None, None, ProbeResult.LOCAL_BLOCK),
        (TCP, errno.ENETUNREACH, None, None, ProbeResult.NO_ROUTE),
        (TCP, errno.EACCES, None, None, ProbeResult.NO_ROUTE),
        (TCP, errno.EINVAL, None, None, ProbeResult.NO_ROUTE),
        (TCP, errno.EHOSTUNREACH, None, None, ProbeResult.NO_ROUTE),
        (TCP, errno.ETIMEDOUT, None, None, ProbeResult.SILENCE),
        (TCP, errno.EMFILE, None, None, ProbeResult.ERROR),
        (UDP, errno.ENOBUFS, None, None, ProbeResult.ERROR),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_an_error_means(protocol, number, sender, codes, outcome, version):
    icmp = None
    if sender is not None:
        kind, code = {4: 3, 6: 1}[version], codes[version == 6]
        icmp = IcmpError(version, kind, code, sender[version])
    assert read(protocol, number, icmp, version) is outcome


def test_an_icmp_error_is_shown_with_its_sender():
    assert str(IcmpError(4, 3, 13, "192.0.2.2")) == "admin-prohibited from 192.0.2.2"
    assert str(IcmpError(6, 1, 1, "2001:db8::2")) == "admin-prohibited from 2001:db8::2"
    assert str(IcmpError(4, 3, 15, "192.0.2.2")) == "code 15 from 192.0.2.2"


def test_an_unknown_error_is_shown_by_its_number():
    assert "999" in failed(PacketQuestion("192.0.2.2", TCP, 1), 999, "", None).evidence

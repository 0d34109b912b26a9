"""What an operator may write as the port that check_ports is about."""

from __future__ import annotations

import pytest
from salt.exceptions import SaltInvocationError

from _modules import k3sfw as module
from k3sfw_engine.model.rows import PortRange, Protocol


@pytest.mark.parametrize(
    ("port", "read"),
    [
        (None, (None, None)),
        (2379, (None, PortRange(2379, 2379))),
        ("2379-2380", (None, PortRange(2379, 2380))),
        ("UDP/8472", (Protocol.UDP, PortRange(8472, 8472))),
        ("vrrp", (Protocol.VRRP, None)),
        ("ipv6-icmp", (Protocol.IPV6_ICMP, None)),
        (112, (None, PortRange(112, 112))),
    ],
)
def test_a_port_a_range_or_a_protocol_without_ports_is_read(port, read):
    assert module._port(port) == read


@pytest.mark.parametrize(
    "port", ["", 0, 65536, "tcp", "any", "vrrp/112", "icmp/8", "vrrp,esp", "etcd", "ipv4", True]
)
def test_anything_else_is_refused(port):
    with pytest.raises(SaltInvocationError, match="is not a port"):
        module._port(port)

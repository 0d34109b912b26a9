"""IPVS's services are read as the kernel lists them, in both families."""

from __future__ import annotations

from k3sfw_engine.host.ipvs import read_ipvs

LISTING = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C000020B:7580 rr
  -> 0A2A0105:0050      Masq    1      0          0
UDP  0A2B000A:0035 rr
TCP  [2001:0db8:0000:0000:0000:0000:0000:0011]:7580 rr
FWM  00000001 rr
"""


def test_services_are_read_with_protocol_address_and_port(tmp_path):
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/ip_vs").write_text(LISTING)
    (tmp_path / "sys/class/net/kube-ipvs0").mkdir(parents=True)
    found = read_ipvs(tmp_path)
    assert found.used
    assert [(s.protocol.value, str(s.address), s.port) for s in found.services] == [
        ("tcp", "192.0.2.11", 30080),
        ("tcp", "2001:db8::11", 30080),
        ("udp", "10.43.0.10", 53),
    ]


def test_a_kernel_without_ipvs_lists_nothing(tmp_path):
    found = read_ipvs(tmp_path)
    assert (found.used, found.services) == (False, None)

"""The masters' addresses are found in whatever form a minion's configuration names them."""

from __future__ import annotations

import socket

import netaddr
import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.dns import resolve_masters

KNOWN = {
    "salt": ["203.0.113.5"],
    "master.example": ["203.0.113.5", "2001:db8:5::5"],
    "twice.example": ["203.0.113.5", "203.0.113.5"],
    "203.0.113.6": ["203.0.113.6"],
    "2001:db8:5::6": ["2001:db8:5::6"],
    "link.example": ["fe80::1%eth0"],
}


@pytest.fixture(autouse=True)
def resolver(monkeypatch):
    def getaddrinfo(host, port, **_options):
        host.encode("idna")  # as the real one does
        if host not in KNOWN:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, 1, 6, "", (address, 0))
            for address in KNOWN[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["salt"], ["203.0.113.5"]),
        (["salt:4506"], ["203.0.113.5"]),
        (["203.0.113.6"], ["203.0.113.6"]),
        (["203.0.113.6:4506"], ["203.0.113.6"]),
        (["2001:db8:5::6"], ["2001:db8:5::6"]),
        (["[2001:db8:5::6]"], ["2001:db8:5::6"]),
        (["[2001:db8:5::6]:4506"], ["2001:db8:5::6"]),
        (["master.example"], ["203.0.113.5", "2001:db8:5::5"]),
        (["twice.example", "salt"], ["203.0.113.5"]),
        (["203.0.113.6", "salt"], ["203.0.113.5", "203.0.113.6"]),
        ([], []),
    ],
)
def test_every_way_to_name_a_master_gives_its_addresses(names, found):
    assert [str(address) for address in resolve_masters(names)] == found


def test_masters_that_cannot_be_found_are_all_named_with_the_mend():
    with pytest.raises(EngineError) as refused:
        resolve_masters(["nowhere.example", "salt", "elsewhere.example"])
    nowhere, elsewhere = refused.value.sentences
    assert "Salt master nowhere.example does not resolve" in nowhere
    assert "Salt master elsewhere.example does not resolve" in elsewhere
    assert "Fix: make the name resolve" in nowhere


@pytest.mark.parametrize("name", ["", "a..b", ".", "x" * 70 + ".example", "\ud800"])
def test_a_name_that_can_be_none_is_a_sentence_and_no_traceback(name):
    with pytest.raises(EngineError, match="Fix: "):
        resolve_masters([name])


def test_a_link_local_master_is_found_or_a_sentence():
    try:
        found = resolve_masters(["link.example"])
    except EngineError:
        return
    assert found == (netaddr.IPAddress("fe80::1"),)

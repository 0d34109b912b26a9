"""What is redirected is read with the programs that are there, only where there is something."""

from __future__ import annotations

from pathlib import Path

import netaddr
import pytest

from k3sfw_engine.errors import FirewalldUnavailable, Problem
from k3sfw_engine.host import nat, run_program
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.host.run_program import Finished
from k3sfw_engine.model.host_facts import BaseChain
from k3sfw_engine.model.nat import LocalAddresses
from tests.paths import UNIT_DATA

DATA = UNIT_DATA
HERE = LocalAddresses(
    frozenset({netaddr.IPAddress("192.0.2.11")}), (netaddr.IPNetwork("10.42.0.0/16"),)
)
SAVED = (DATA / "nat_iptables.txt").read_bytes()


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host with these chains and programs; gives what is read, and the commands that were run."""

    def build(tables=(), programs=(), output=SAVED, code=0, legacy=()):
        ran = []

        def run(*command, seconds):
            ran.append([Path(command[0]).name, *command[1:]])
            return Finished(code, output, b"Permission denied\n")

        chains = tuple(BaseChain(table, "pre", "prerouting", "accept") for table in tables)
        found = {name: f"/usr/sbin/{name}" for name in programs}
        monkeypatch.setattr(nat, "base_chains", lambda: chains)
        monkeypatch.setattr(run_program, "find_program", lambda name, *more: found.get(name))
        monkeypatch.setattr(run_program, "run", run)
        (tmp_path / "proc/net").mkdir(parents=True, exist_ok=True)
        for name in legacy:
            (tmp_path / f"proc/net/{name}_names").write_text("filter\nnat\n")
        return read_redirections(HERE, tmp_path), ran

    return build


def test_a_host_without_such_tables_starts_no_program(host):
    tables = ("inet firewalld", "ip mangle", "ip raw")
    read, ran = host(tables, ("iptables-nft-save", "iptables-legacy-save"))
    assert (read.found, read.unread, ran) == (frozenset(), (), [])


@pytest.mark.parametrize(
    ("programs", "command"),
    [
        (["iptables-nft-save", "iptables-save"], ["iptables-nft-save"]),
        (["xtables-nft-multi", "iptables-save"], ["xtables-nft-multi", "iptables-save"]),
        (["iptables-save"], ["iptables-save"]),
    ],
)
def test_the_table_of_iptables_is_read_with_the_program_that_shows_it(host, programs, command):
    read, ran = host(["ip nat"], programs)
    assert ran == [[*command, "-t", "nat"]]
    assert len(read.found) == 6


def test_each_family_and_each_kind_of_iptables_is_asked_where_it_has_a_table(host):
    programs = [f"ip{six}tables-{kind}-save" for six in ("", "6") for kind in ("nft", "legacy")]
    _read, ran = host(["ip nat", "ip6 nat"], programs, legacy=["ip_tables", "ip6_tables"])
    assert sorted(command[0] for command in ran) == sorted(programs)


def test_what_cannot_be_shown_is_said(host):
    read, _ran = host(["ip nat"])
    (problem,) = read.unread
    assert problem.fix == "install the package iptables"
    read, _ran = host(["ip nat"], ["iptables-save"], code=4)
    assert "iptables-save fails (Permission denied)" in read.unread[0].text
    read, _ran = host(["ip nat"], ["iptables-save"], output=b"-A PREROUTING --dport ssh -j DNAT")
    assert read.unread[0].text.startswith("a NAT rule of this host cannot be read")


def test_an_nft_that_fails_hides_no_table_of_the_old_iptables(host, monkeypatch, tmp_path):
    host(legacy=["ip_tables"], programs=["iptables-legacy-save"])

    def refuse():
        raise FirewalldUnavailable("nft is not installed", "install the package nftables")

    monkeypatch.setattr(nat, "base_chains", refuse)
    read = read_redirections(HERE, tmp_path)
    assert read.unread == (Problem("nft is not installed", "install the package nftables"),)
    assert read.found

"""The promises of ``k3s:tests``, read or refused with every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from k3sfw_engine.model.rows import (
    Endpoint,
    EndpointKind,
    OpenedBy,
    PortRange,
    Promise,
    PromisedPorts,
    PromiseSeverity,
    Protocol,
    WhenAbsent,
)
from k3sfw_engine.port_tables.merge_pillar import DEFAULTS, merge_pillar
from tests.unit.port_tables.reading import faults
from tests.unit.samples import parsed, pillar

ETCD = {
    "from": "anyone",
    "except": ["server", "pods", "services"],
    "to": "server",
    "deny": ["tcp/2379-2380"],
}


def promises(**tests: Any) -> tuple[Promise, ...]:
    return parsed(pillar(tests=tests)).promises


def faults_of(**tests: Any) -> dict[str, str]:
    return faults(pillar(tests=tests))


def promise(**columns: Any) -> Promise:
    return promises(it={**ETCD, **columns})[0]


def test_a_promise_is_read_with_all_its_columns():
    full = {
        **ETCD,
        "from": ["admins", "a1", "198.51.100.7", "any"],
        "to": ["agent", "s1"],
        "accept": ["udp/53", "vrrp", "sctp"],
        "why": "etcd holds all secrets",
        "severity": "warn",
        "expect": "present",
        "opened_by": "zones",
        "ask_from": "jump1",
    }
    assert promises(it=full) == (
        Promise(
            name="it",
            sources=(
                Endpoint(EndpointKind.ANY),
                Endpoint(EndpointKind.CIDR, "198.51.100.7/32"),
                Endpoint(EndpointKind.GROUP, "admins"),
                Endpoint(EndpointKind.NODE, "a1"),
            ),
            exceptions=(
                Endpoint(EndpointKind.PODS),
                Endpoint(EndpointKind.SERVER),
                Endpoint(EndpointKind.SERVICES),
            ),
            destinations=(Endpoint(EndpointKind.AGENT), Endpoint(EndpointKind.NODE, "s1")),
            accept=(
                PromisedPorts(Protocol.SCTP, PortRange(1, 65535)),
                PromisedPorts(Protocol.UDP, PortRange(53, 53)),
                PromisedPorts(Protocol.VRRP),
            ),
            deny=(PromisedPorts(Protocol.TCP, PortRange(2379, 2380)),),
            why="etcd holds all secrets",
            severity=PromiseSeverity.WARN,
            expect=WhenAbsent.PRESENT,
            opened_by=OpenedBy.ZONES,
            ask_from=("jump1",),
        ),
    )


def test_what_is_not_said_has_its_default():
    read = promise()
    assert (read.severity, read.expect, read.opened_by) == (
        PromiseSeverity.FAIL,
        WhenAbsent.TOLD,
        OpenedBy.ROWS,
    )
    assert (read.accept, read.why, read.ask_from) == ((), "", ())
    assert read.path == "k3s:tests:it"


def test_words_of_a_promise_are_read_in_upper_and_lower_case():
    assert promise(**{"from": "Anyone", "to": "Server", "deny": "TCP/2379-2380"}) == promise()


def test_promises_come_in_the_order_of_their_names():
    assert [each.name for each in promises(b=ETCD, a=ETCD)] == ["a", "b"]


def test_a_promise_that_is_switched_off_is_left_out_whatever_it_lacks():
    assert promises(it={"enabled": False}) == ()
    assert promises(it={**ETCD, "enabled": True}) != ()


def test_a_promise_for_another_backend_is_left_out():
    assert promises(it={**ETCD, "flannel_backend": "wireguard-native"}) == ()
    assert promises(it={**ETCD, "flannel_backend": "vxlan"}) != ()


def test_a_site_changes_one_column_of_a_promise_that_is_shipped():
    tree = pillar(tests={"etcd": {"except": []}, "kubelet": {"enabled": False}})
    shipped = {"tests": {"etcd": ETCD, "kubelet": ETCD}}
    both = merge_pillar({DEFAULTS: shipped, "k3s": tree})
    (etcd,) = parsed(both).promises
    assert (etcd.name, etcd.exceptions, str(etcd.deny[0])) == ("etcd", (), "tcp/2379-2380")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("from", []),
        ("from", 5),
        ("from", ""),
        ("from", "10.0.0.1/8"),
        ("from", "two words"),
        ("from", ["admins", "admins"]),
        ("from", "\u202e"),
        ("except", {"server": 1}),
        ("to", "pods"),
        ("to", "admins"),
        ("to", "anyone"),
        ("to", []),
        ("deny", "tcp/0"),
        ("deny", "tcp/65536"),
        ("deny", "tcp/20-10"),
        ("deny", "tcp/"),
        ("deny", "tcp/ssh"),
        ("deny", "vrrp/5"),
        ("deny", "6"),
        ("deny", 22),
        ("deny", "22"),
        ("deny", "ip/6"),
        ("deny", []),
        ("accept", None),
        ("why", 5),
        ("why", "x" * 201),
        ("severity", "fatal"),
        ("expect", True),
        ("opened_by", "magic"),
        ("ask_from", "a/b"),
        ("enabled", "no"),
        ("flannel_backend", "calico"),
        ("source", "any"),
    ],
)
def test_a_bad_column_refuses_the_pillar_and_is_named(column, value):
    paths = faults_of(it={**ETCD, column: value})
    assert [path.split(":")[3] for path in paths] == [column]


def test_every_fault_of_every_promise_is_told_at_once():
    assert set(
        faults_of(
            one={"from": "anyone", "to": "server"},
            two={"deny": "tcp/1"},
            three={**ETCD, "severity": 1, "expect": 2},
            **{"four five": ETCD},
        )
    ) == {
        "k3s:tests:one",
        "k3s:tests:two",
        "k3s:tests:three:severity",
        "k3s:tests:three:expect",
        "k3s:tests:four five",
    }


@pytest.mark.parametrize("accept", ["tcp/2380", "tcp/2000-3000", "tcp", "any"])
def test_a_port_that_is_promised_both_ways_is_a_fault(accept):
    assert set(faults_of(it={**ETCD, "accept": accept})) == {"k3s:tests:it"}


@pytest.mark.parametrize("accept", ["tcp/2381", "udp/2379", "vrrp"])
def test_other_ports_may_be_accepted_beside_those_denied(accept):
    assert promise(accept=accept).accept


@pytest.mark.parametrize("text", ["tcp/22", "udp/1-65535", "vrrp", "ip/253", "any"])
def test_ports_are_written_as_they_are_read(text):
    assert list(map(str, promise(deny=text).deny)) == [text]


def test_a_whole_protocol_may_be_named_by_its_number():
    assert promise(deny="ip/112") == promise(deny="vrrp")


def test_a_node_that_does_not_exist_is_not_a_fault():
    assert promise(**{"from": "a99"}).sources == (Endpoint(EndpointKind.NODE, "a99"),)


def test_more_promises_than_are_judged_are_refused():
    assert set(faults_of(**{f"t{number}": ETCD for number in range(201)})) == {"k3s:tests"}


@pytest.mark.parametrize("value", [None, [], "x", {"it": []}, {"it": None}])
def test_what_is_not_a_map_is_refused(value):
    assert faults(pillar(tests=value))


def test_an_apply_may_be_allowed_to_break_promises():
    assert not parsed().allow_broken_tests
    assert parsed(pillar(firewall={"allow_broken_tests": True})).allow_broken_tests
    assert set(faults(pillar(firewall={"allow_broken_tests": 1}))) == {
        "k3s:firewall:allow_broken_tests"
    }

"""portmap's rules, compared with what iptables-save 1.8.9 shows after the plugin 1.1.1 ran."""

from __future__ import annotations

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.host_ports import (
    PodPorts,
    PortMapping,
    PortmapSettings,
    without_shared_addresses,
)
from k3sfw_engine.model.portmap_rules import (
    DNAT_CHAIN,
    chain_of,
    expected_uses,
    is_lost,
    restoration,
    rules_of,
)

ID = "2c06183cad50729a97810beea306cf40370732f29021d0ddc7fe8b75480397a9"
CHAIN = "CNI-DN-9cc1bf60e50074426aabf"
COMMENT = f'-m comment --comment "dnat name: \\"cbr0\\" id: \\"{ID}\\""'
SAVED = {
    4: f"""\
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark \
0x2000/0x2000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp {COMMENT} -m multiport --dports 80,443 -j {CHAIN}
-A CNI-HOSTPORT-DNAT -p udp {COMMENT} -m multiport --dports 53 -j {CHAIN}
-A {CHAIN} -s 10.42.1.0/24 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -s 127.0.0.1/32 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.1.2:8000
-A {CHAIN} -s 10.42.1.0/24 -p tcp -m tcp --dport 443 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -s 127.0.0.1/32 -p tcp -m tcp --dport 443 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.42.1.2:8443
-A {CHAIN} -s 10.42.1.0/24 -d 192.0.2.11/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -s 127.0.0.1/32 -d 192.0.2.11/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -d 192.0.2.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.42.1.2:53
""".splitlines(),
    6: f"""\
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark \
0x2000/0x2000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp {COMMENT} -m multiport --dports 80,443 -j {CHAIN}
-A CNI-HOSTPORT-DNAT -p udp {COMMENT} -m multiport --dports 53 -j {CHAIN}
-A {CHAIN} -s fd42::1:0/112 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd42::1:2]:8000
-A {CHAIN} -s fd42::1:0/112 -p tcp -m tcp --dport 443 -j CNI-HOSTPORT-SETMARK
-A {CHAIN} -p tcp -m tcp --dport 443 -j DNAT --to-destination [fd42::1:2]:8443
""".splitlines(),
}
WEB = (
    PortMapping("tcp", 80, 8000),
    PortMapping("tcp", 443, 8443),
    PortMapping("udp", 53, 53, (4,), netaddr.IPAddress("192.0.2.11")),
)
NOTHING: dict[str, tuple[str, ...]] = {"PREROUTING": (), "OUTPUT": (), "POSTROUTING": ()}


def pod(container=ID, last=2, mappings=WEB, **settings):
    addresses = {
        4: netaddr.IPNetwork(f"10.42.1.{last}/24"),
        6: netaddr.IPNetwork(f"fd42::1:{last}/112"),
    }
    return PodPorts(
        "cbr0",
        container,
        "kube-system/web",
        addresses,
        mappings,
        "/var/run/netns/cni-1",
        (),
        PortmapSettings(**settings),
    )


def restored(there, text):
    """The chains after iptables-restore read this text."""
    chains = {name: list(rules) for name, rules in there.items()}
    for line in text.splitlines()[1:-1]:
        verb, name, *rest = line.split(" ", 2)
        if verb == "-N":
            assert name not in chains
            chains[name] = []
        elif verb == "-A":
            chains[name].append(rest[0])
        else:
            number, _space, rule = rest[0].partition(" ")
            place, rule = (int(number), rule) if number.isdigit() else (1, rest[0])
            chains[name].insert(place - 1, rule)
    return chains


@pytest.mark.parametrize("family", [4, 6])
def test_a_rule_is_written_as_iptables_shows_portmaps(family):
    written = [f"-A {rule.chain} {rule.text}" for rule in rules_of(pod(), family)]
    assert written == SAVED[family]
    assert chain_of(pod()) == CHAIN


@pytest.mark.parametrize("family", [4, 6])
def test_everything_that_was_flushed_comes_back_once(family):
    text = restoration([pod()], [pod()], family, NOTHING)
    there = restored(NOTHING, text)
    lines = [f"-A {name} {rule}" for name, rules in there.items() for rule in rules]
    assert sorted(lines) == sorted(SAVED[family])
    assert not is_lost(pod(), family, there)
    assert restoration([pod()], [pod()], family, there) == ""


def test_no_chain_that_exists_is_made_again():
    other = "-p tcp -m multiport --dports 9 -j CNI-DN-other"
    there = {**NOTHING, DNAT_CHAIN: (other,), "CNI-HOSTPORT-SETMARK": ()}
    text = restoration([pod()], [pod()], 4, there)
    assert f"-N {DNAT_CHAIN}" not in text
    assert "-N CNI-HOSTPORT-SETMARK" not in text
    assert restored(there, text)[DNAT_CHAIN][0] == other


def test_a_pod_whose_chain_portmap_wrote_otherwise_is_left_alone():
    there = restored(NOTHING, restoration([pod()], [pod()], 4, NOTHING))
    there[CHAIN] = ["-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.1.2:1"]
    assert not is_lost(pod(), 4, there)


def test_a_masquerading_by_kube_proxy_comes_after_portmaps():
    there = {**NOTHING, "POSTROUTING": ("-j KUBE-POSTROUTING",)}
    after = restored(there, restoration([pod()], [pod()], 4, there))
    assert after["POSTROUTING"][1] == "-j KUBE-POSTROUTING"


def test_of_two_pods_that_want_a_port_the_older_one_has_it_as_before():
    pods = [pod(name, last) for last, name in enumerate(("one", "two", "three"), 2)]
    whole = restored(NOTHING, restoration(pods, pods, 4, NOTHING))
    for lost in pods:
        chain = chain_of(lost)
        there = {
            name: [rule for rule in rules if not rule.endswith(f"-j {chain}")]
            for name, rules in whole.items()
            if name != chain
        }
        assert is_lost(lost, 4, there)
        assert restored(there, restoration([lost], pods, 4, there)) == whole


def test_mappings_of_one_family_write_nothing_in_the_other():
    only = pod(mappings=(PortMapping("tcp", 80, 80, (4,)),))
    assert rules_of(only, 6) == ()
    assert not is_lost(only, 6, NOTHING)
    assert rules_of(only, 4)


def test_without_snat_nothing_is_marked():
    texts = [rule.text for rule in rules_of(pod(snat=False), 4)]
    assert not any("MARK" in text or "MASQ" in text for text in texts)


def test_with_a_chain_of_others_portmap_makes_no_chain_for_marks():
    text = restoration([pod(external_mark_chain="KUBE-MARK-MASQ")], [pod()], 4, NOTHING)
    assert "-j KUBE-MARK-MASQ" in text
    assert "-N KUBE-MARK-MASQ" in text
    assert "CNI-HOSTPORT-SETMARK" not in text


def test_a_rule_names_no_more_than_fifteen_ports():
    many = pod(mappings=tuple(PortMapping("tcp", port, port) for port in range(1, 18)))
    entries = [rule.text for rule in rules_of(many, 4) if rule.chain == DNAT_CHAIN]
    assert [text.count(",") for text in entries] == [14, 1]


def test_a_condition_of_the_network_cannot_end_its_rule():
    words = ('a "quoted" word', "-s", "192.0.2.0/24")
    rule = next(
        rule.text for rule in rules_of(pod(conditions={4: words}), 4) if rule.chain == DNAT_CHAIN
    )
    assert ' "a \\"quoted\\" word" -s "192.0.2.0/24" -j CNI-DN-' in rule


def test_the_kernel_counts_as_many_uses_as_there_are_rules():
    # Seen on Linux 6.18 with one pod and two hostPorts.
    web = pod(mappings=(PortMapping("tcp", 80, 80), PortMapping("tcp", 81, 81)), snat=False)
    assert expected_uses([web], 4) == {DNAT_CHAIN: 3, chain_of(web): 3}


def test_two_pods_that_claim_one_address_are_both_in_doubt():
    pods = (pod("one", 2), pod("two", 2), pod("three", 3))
    assert [each.container for each in without_shared_addresses(pods)] == ["three"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True), st.data())
def test_whatever_is_lost_comes_back_and_nothing_else_changes(lasts, data):
    pods = [pod(f"pod{last}", last) for last in lasts]
    whole = restored(NOTHING, restoration(pods, pods, 4, NOTHING))
    gone = data.draw(st.lists(st.sampled_from(pods), unique_by=chain_of))
    chains = {chain_of(each) for each in gone}
    there = {
        name: [rule for rule in rules if rule.rpartition("-j ")[2] not in chains]
        for name, rules in whole.items()
        if name not in chains
    }
    assert [each for each in pods if is_lost(each, 4, there)] == [p for p in pods if p in gone]
    assert restored(there, restoration(gone, pods, 4, there)) == whole

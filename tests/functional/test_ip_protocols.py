"""Rows of IP protocols, which have no ports, on a real firewalld: packets, layers and drift."""

import shlex

import pytest

from tests.functional.raw_packets import Raw, passing, sending
from tests.selection import exhaustive

# Each protocol with the numbers of the rules that its row makes, in IPv4 and in IPv6.
NAMES = {
    "vrrp": (112, 112),
    "esp": (50, 50),
    "ah": (51, 51),
    "gre": (47, 47),
    "ipip": (4, 4),
    "ospf": (89, 89),
    "igmp": (2, None),
    "icmp": (1, None),
    "ipv6-icmp": (None, 58),
    253: (253, 253),
}


def row(protocol, source="server"):
    return {"protocol": protocol, "source": source, "destination": "any"}


@pytest.fixture
def rows(pillar, outsider):
    """A row for each protocol, and the host next door as a server."""
    pillar["ports"]["cluster"].update({f"row-{name}": row(name) for name in NAMES})
    pillar["ports"]["cluster"]["from-everyone"] = row("l2tp", ["0.0.0.0/0", "::/0"])
    addresses = [outsider.ipv4, outsider.ipv6]
    pillar["nodes"]["s2"] = {"role": "server", "addresses": addresses}
    return pillar


def packets(host):
    """A packet of each protocol to the host, in each family, and those to groups of hosts."""
    for over_ipv4, over_ipv6 in NAMES.values():
        if over_ipv4:
            yield Raw(over_ipv4, host.ipv4)
        if over_ipv6:
            yield Raw(over_ipv6, host.ipv6)
    yield Raw(112, "224.0.0.18")
    yield Raw(2, "224.0.0.22")
    yield Raw(89, "224.0.0.5")


def test_each_protocol_passes_by_its_row_and_by_nothing_else(node, outsider, rows):
    every = set(packets(node.host))
    # The zone drop is the one whose rules do not accept ICMP from everyone.
    node.firewall_cmd("--set-default-zone=drop")
    closed = {**rows, "ports": {**rows["ports"], "cluster": {"flannel": flannel(rows)}}}
    node.call("apply", closed)
    assert passing(outsider, node.host, every) == set()
    node.call("apply", rows)
    assert passing(outsider, node.host, every) == every
    rows["nodes"]["s2"]["role"] = "agent"
    node.call("apply", rows)
    assert passing(outsider, node.host, every) == set()


def flannel(pillar):
    return pillar["ports"]["cluster"]["flannel"]


def test_rows_of_protocols_converge_in_every_layer_and_stay(node, rows):
    node.call("apply", rows)
    again = {"changes": {}, "reloads": [], "notices": []}
    assert node.call("apply", rows) == again
    rules = node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules")
    assert rules == node.firewall_cmd("--permanent", "--policy=k3s-rows", "--list-rich-rules")
    for numbers in NAMES.values():
        for family, number in zip((4, 6), numbers):
            rule = f'rule family="ipv{family}" source ipset="k3s-server-{family}" '
            assert (f'{rule}protocol value="{number}" accept' in rules) == bool(number)
    node.firewall_cmd("--reload")
    assert node.call("apply", rows) == again
    node.host.restart_firewalld()
    assert node.call("apply", rows) == again
    checks = {each["protocol"]: each for each in node.call("check_ports", rows)["checks"]}
    assert {checks[str(name)]["status"] for name in NAMES} == {"ok"}


def test_a_row_needs_no_names_of_protocols_on_the_host(node, outsider, rows):
    names = node.path("/etc/protocols")
    lines = names.read_text().splitlines()
    lines = [line for line in lines if not line.startswith(("vrrp", "ospf", "ipencap"))]
    names.write_text("\n".join([*lines, ""]))
    node.host.restart_firewalld()
    node.call("apply", rows)
    assert node.call("apply", rows) == {"changes": {}, "reloads": [], "notices": []}
    vrrp = {Raw(112, "224.0.0.18"), Raw(112, node.host.ipv6)}
    assert passing(outsider, node.host, vrrp) == vrrp


def test_a_row_of_a_protocol_comes_and_goes_without_a_reload(node, pillar):
    node.call("apply", pillar)
    before = node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules")
    pillar["ports"]["cluster"]["vrrp"] = row("vrrp")
    with node.reload_counter() as reloads:
        assert node.call("apply", pillar)["changes"]
        del pillar["ports"]["cluster"]["vrrp"]
        assert node.call("apply", pillar)["changes"]
        assert reloads.count() == 0
    assert node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules") == before
    assert node.call("compare", pillar)["changes"] == {}


def echoes(node, pillar):
    """The statuses of what the host next door answered to echoes, by protocol."""
    checks = node.call("check_ports", pillar, peers=1)["checks"]
    return {each["protocol"]: each for each in checks if each["to"] == "s2" and not each["port"]}


def test_a_row_of_icmp_is_proven_by_an_echo_to_each_peer(node, outsider, rows):
    node.call("apply", rows)
    answered = echoes(node, rows)
    assert {name: each["status"] for name, each in answered.items()} == {
        "icmp": "ok",
        "ipv6-icmp": "ok",
    }
    filtered = (
        "add table inet t; add chain inet t c { type filter hook input priority 0; };"
        "add rule inet t c icmp type echo-request reject with icmp admin-prohibited;"
        "add rule inet t c icmpv6 type echo-request drop"
    )
    outsider.run(["nft", filtered])
    denied = echoes(node, rows)
    assert (denied["icmp"]["status"], denied["icmp"]["by"]) == ("blocked", "s2")
    assert denied["ipv6-icmp"]["status"] == "no_answer"


def test_what_another_firewall_drops_of_a_peer_is_reported(node, outsider, rows):
    node.call("apply", rows)
    filtered = (
        "add table inet t; add chain inet t c { type filter hook input priority 20; };"
        "add rule inet t c meta l4proto 112 drop"
    )
    for blocked in (False, True):
        if blocked:
            node.nft(filtered)
        with sending(outsider, [Raw(112, node.host.ipv4), Raw(50, node.host.ipv6)]):
            checks = node.call("check_ports", rows, peers=1)["checks"]
        found = {each["protocol"]: each["status"] for each in checks if each["from"] == "s2"}
        assert found == ({"vrrp": "blocked"} if blocked else {})


VRRP = 'rule family="ipv4" source ipset="k3s-server-4" protocol value="112" accept'


def runtime_rule_lost(node):
    node.firewall_cmd("--policy=k3s-rows", f"--remove-rich-rule={VRRP}")


def runtime_rule_by_name(node):
    node.firewall_cmd("--policy=k3s-rows", '--add-rich-rule=rule protocol value="gre" accept')


def permanent_rule_edited(node):
    file = node.path("/etc/firewalld/policies/k3s-rows.xml")
    file.write_text(file.read_text().replace('value="112"', 'value="vrrp"'))


def kernel_rule_lost(node):
    for chain, handle in node.rule_handles("@k3s-server-4 meta l4proto vrrp accept"):
        node.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)


@pytest.mark.parametrize(
    ("drift", "layer"),
    [
        exhaustive(runtime_rule_lost, "runtime"),
        exhaustive(runtime_rule_by_name, "runtime"),
        exhaustive(permanent_rule_edited, "permanent"),
        (kernel_rule_lost, "kernel"),
    ],
)
def test_drift_of_a_protocols_rule_is_seen_in_its_layer_and_fixed(node, rows, drift, layer):
    node.call("apply", rows)
    drift(node)
    seen = node.call("compare", rows)
    assert layer in seen["changes"]
    assert node.call("check_ports", rows)["status"] == "FAIL"
    assert node.call("apply", rows)["changes"] == seen["changes"]
    assert node.call("compare", rows)["changes"] == {}
    node.firewall_cmd("--reload")
    assert node.call("compare", rows)["changes"] == {}


@pytest.mark.exhaustive
def test_the_iptables_backend_takes_rows_of_protocols_as_well(node, outsider, rows):
    file = node.path("/etc/firewalld/firewalld.conf")
    file.write_text(file.read_text().replace("Backend=nftables", "Backend=iptables"))
    node.host.restart_firewalld()
    node.call("apply", rows)
    assert node.call("apply", rows)["changes"] == {}
    every = set(packets(node.host))
    assert passing(outsider, node.host, every) == every
    node.firewall_cmd("--set-default-zone=drop")
    rows["nodes"]["s2"]["role"] = "agent"
    node.call("apply", rows)
    assert passing(outsider, node.host, every) == set()


def test_the_script_creates_rows_of_protocols_as_apply_does(node, rows):
    for line in node.call("script", rows)["script"].splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "firewall-cmd":
            node.firewall_cmd(*words)
    assert node.call("compare", rows)["changes"] == {}

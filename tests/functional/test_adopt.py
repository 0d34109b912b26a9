"""adopt on a real firewalld: it removes exactly what the source's script added, or nothing."""

import contextlib
import re
import shlex
import sys

import pytest

from bench.rules import SCRIPT, tables_of
from lab.wait import wait_until
from tests.functional.transactions import TransactionNode
from tests.selection import exhaustive

ZONE_FILE = "/etc/firewalld/zones/public.xml"
GONE = {
    "zone public": {
        "ports": {
            "old": [
                *("80/tcp", "443/tcp", "2379-2380/tcp", "3000/tcp", "5001/tcp", "6379/tcp"),
                *("6443/tcp", "8500/tcp", "9090/tcp", "9093/tcp", "9095/tcp", "9500/tcp"),
                *("10250/tcp", "8472/udp"),
            ],
            "new": [],
        },
        "rich_rules": {
            "old": [
                'rule family="ipv4" source address="10.42.0.0/16" accept',
                'rule family="ipv4" source address="10.43.0.0/16" accept',
            ],
            "new": [],
        },
    }
}
NOTHING = {"changes": {}, "reloads": [], "notices": []}


@pytest.fixture
def pillar(pillar):
    """Both tables of the document, for a server that also asked for the rows of agents."""
    return {**pillar, **tables_of(), "peer_ports": {}}


@pytest.fixture
def scripted(node, pillar):
    """A host with the script's rules and ours."""
    for options in (r"--add-port=\S+", r"--add-rich-rule='[^']*'"):
        found = sorted(set(re.findall(options, SCRIPT.read_text())))
        node.firewall_cmd("--permanent", *(option.replace("'", "") for option in found))
    node.firewall_cmd("--reload")
    node.call("apply", pillar)
    return node


def adopt(node, pillar, **options):
    return node.call("adopt", pillar, node="s1", **options)


def refusal(node, pillar, **options):
    return "\n".join(node.try_call("adopt", pillar, node="s1", **options)["refused"])


def ports(node, *layer):
    return sorted(node.firewall_cmd(*layer, "--zone=public", "--list-ports").split())


def permanently(node):
    """Every file, without the copies that firewalld keeps of what it wrote over."""
    return {name: seen[0] for name, seen in node.files().items() if not name.endswith(".old")}


def rest_of(file):
    """The lines of a zone's file that are not the script's."""
    ports = {port.split("/")[0] for port in GONE["zone public"]["ports"]["old"]}
    mine = {f'<port port="{port}" protocol="{name}"/>' for port in ports for name in ("tcp", "udp")}
    text = re.sub(
        r'\s*<rule family="ipv4">\s*<source address="10\.4[23]\.0\.0/16"/>\s*<accept/>\s*</rule>',
        "",
        file.decode(),
    )
    return [line for line in text.splitlines() if line.strip() not in mine]


def test_exactly_what_the_script_added_goes_in_both_layers(node, pillar):
    everybodys = [
        ["--add-port=8443/tcp", "--add-port=2379/udp"],
        ["--add-service=http"],
        ["--add-source-port=6443/tcp"],
        ["--add-forward-port=port=81:proto=tcp:toport=82"],
        ["--add-rich-rule=rule family=ipv4 source address=10.42.0.0/16 log prefix=pod accept"],
        ["--add-rich-rule=rule priority=7 family=ipv4 source address=10.43.0.0/16 accept"],
        ["--zone=internal", "--add-port=6443/tcp"],
        ["--new-policy=theirs"],
        ["--policy=theirs", "--add-ingress-zone=ANY"],
        ["--policy=theirs", "--add-egress-zone=HOST"],
        ["--policy=theirs", "--add-port=2379-2380/tcp"],
        ["--new-ipset=friends", "--type=hash:ip"],
    ]
    for permanent in everybodys:
        node.firewall_cmd("--permanent", *permanent)
    node.run("sh", str(SCRIPT))
    node.call("apply", pillar)
    rule = "rule family=ipv4 source address=203.0.113.5 port port=6443 protocol=tcp accept"
    node.firewall_cmd("--add-port=9999/tcp")
    node.firewall_cmd("--add-source=203.0.113.0/24")
    node.firewall_cmd(f"--add-rich-rule={rule}")

    before, files = node.everything(), permanently(node)
    runtime = node.runtime()
    predicted = adopt(node, pillar, test=True)
    assert node.everything() == before
    assert predicted["changes"] == {"permanent": GONE, "runtime": GONE}
    with node.reload_counter() as reloads:
        assert adopt(node, pillar) == predicted
        assert reloads.count() == 0
    (notice,) = predicted["notices"]
    assert "80/tcp stays open to every source: the service http of that zone opens it" in notice

    after = permanently(node)
    assert rest_of(after.pop("zones/public.xml")) == rest_of(files.pop("zones/public.xml"))
    assert after == files
    left = node.firewall_cmd("--list-all")
    assert ports(node) == ["2379/udp", "8443/tcp", "9999/tcp"]
    assert ports(node, "--permanent") == ["2379/udp", "8443/tcp"]
    for kept in ("ssh", "http", "6443/tcp", "port=81", "10.42.0.0/16", "10.43.0.0/16", rule[-20:]):
        assert kept.replace("=tcp", '="tcp"') in left
    public = "zone", "public"
    assert {**node.runtime(), public: None} == {**runtime, public: None}
    kernel = node.nft("list", "chain", "inet", "firewalld", "filter_IN_public_allow")
    assert "8443" in kernel and "9090" not in kernel and "dport 80 " in kernel

    before = node.everything()
    assert adopt(node, pillar) == NOTHING
    assert adopt(node, pillar, test=True) == NOTHING
    assert node.everything() == before
    node.firewall_cmd("--reload")
    assert node.call("compare", pillar)["changes"] == {}
    assert adopt(node, pillar) == NOTHING


def test_each_layer_loses_only_what_it_has(scripted, pillar):
    scripted.firewall_cmd("--permanent", "--remove-port=6443/tcp")
    scripted.firewall_cmd("--remove-port=3000/tcp")
    changes = adopt(scripted, pillar)["changes"]
    old = {layer: changes[layer]["zone public"]["ports"]["old"] for layer in changes}
    assert set(old["runtime"]) ^ set(old["permanent"]) == {"6443/tcp", "3000/tcp"}
    assert "6443/tcp" in old["runtime"] and "3000/tcp" in old["permanent"]
    assert ports(scripted) == []
    assert ports(scripted, "--permanent") == []


def test_what_a_disabled_row_gives_up_stays_until_the_fix_closes_it(scripted, pillar):
    pillar["ports"]["manager"]["kafka"] = {"enabled": False}
    scripted.call("apply", pillar)
    (notice,) = adopt(scripted, pillar)["notices"]
    assert "9095/tcp stays open to every source: no enabled row opens it" in notice
    assert ports(scripted) == ["9095/tcp"]
    typed = notice.split("if it is not needed, ")[1]
    scripted.run("sh", "-c", typed)
    assert ports(scripted) == []
    assert adopt(scripted, pillar) == NOTHING


def test_a_range_that_was_widened_stays_until_the_fix_closes_its_part(scripted, pillar):
    scripted.firewall_cmd("--permanent", "--add-port=9080-9092/tcp")
    scripted.firewall_cmd("--reload")
    (notice,) = adopt(scripted, pillar)["notices"]
    assert "9080-9092/tcp is wider than the script's 9090/tcp" in notice
    assert ports(scripted) == ["9080-9092/tcp"]
    scripted.run("sh", "-c", notice.split("if that part is not needed, ")[1])
    assert ports(scripted) == ["9080-9089/tcp", "9091-9092/tcp"]
    assert adopt(scripted, pillar) == NOTHING


def test_another_zone_can_be_named_and_an_unknown_one_is_refused(scripted, pillar):
    scripted.firewall_cmd("--permanent", "--zone=internal", "--add-port=6443/tcp")
    scripted.firewall_cmd("--reload")
    changes = adopt(scripted, pillar, zone="internal")["changes"]
    gone = {"zone internal": {"ports": {"old": ["6443/tcp"], "new": []}}}
    assert changes == {"permanent": gone, "runtime": gone}
    assert "6443/tcp" in ports(scripted)
    assert "firewalld has no zone nonesuch. Fix: name one of block, dmz," in refusal(
        scripted, pillar, zone="nonesuch"
    )


def test_ports_of_ssh_are_never_touched(scripted, pillar):
    # Linux names a process after its executable file.
    scripted.path("/run/sshd").symlink_to(sys.executable)
    server = scripted.host.popen(["/run/sshd", "-m", "http.server", "443"])
    try:
        scripted.run("sh", "-c", "until ss -ltn | grep -q :443; do sleep 0.05; done")
        (notice,) = adopt(scripted, pillar)["notices"]
    finally:
        server.kill()
        server.wait()
    assert "443/tcp stays open to every source: it is a port of ssh" in notice
    assert ports(scripted) == ["443/tcp"]
    assert "ssh" in scripted.firewall_cmd("--zone=public", "--list-services")


def test_rules_go_too_where_pods_come_in_by_a_zone_of_the_operator(scripted, pillar):
    scripted.call("remove")
    scripted.firewall_cmd("--permanent", "--add-interface=cni0")
    scripted.firewall_cmd("--add-interface=cni0")
    scripted.call("apply", pillar)
    adopt(scripted, pillar)
    rules = scripted.firewall_cmd("--zone=public", "--list-rich-rules")
    assert "10.42.0.0/16" not in rules
    assert "10.42.0.0/16" in scripted.firewall_cmd("--policy=k3s-bound-to-host", "--list-all")


# --- refusals ---


def runtime_rule_lost(node, _pillar):
    node.firewall_cmd("--ipset=k3s-server-4", "--remove-entry=192.0.2.12")
    return "not in force: runtime ipset k3s-server-4. Fix: salt s1 state.apply k3s.firewall"


def permanent_file_lost(node, _pillar):
    node.path("/etc/firewalld/policies/k3s-rows.xml").unlink()
    return "not in force: permanent policy k3s-rows. Fix: salt s1 state.apply k3s.firewall"


def kernel_rule_lost(node, _pillar):
    for chain, handle in node.rule_handles("accept", "ip saddr @k3s-server-4 tcp dport 2379-2380"):
        node.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)
    return "not in force: kernel policy k3s-rows. Fix: salt s1 state.apply k3s.firewall"


def nothing_applied(node, _pillar):
    node.call("remove")
    return "because our own rules are not in force"


def a_node_is_missing(_node, pillar):
    pillar["firewall"] = {"expected_nodes": 4}
    return "3 nodes are known and k3s:firewall:expected_nodes is 4. Fix: see that k3sfw.nodes"


def zone_file_just_edited(node, _pillar):
    file = node.path(ZONE_FILE)
    file.write_text(file.read_text().replace("</zone>", '<port port="1" protocol="tcp"/></zone>'))
    return "the file of the permanent zone public is not as firewalld knows it"


def iptables_backend(node, pillar):
    configuration = node.path("/etc/firewalld/firewalld.conf")
    configuration.write_text(
        configuration.read_text().replace("FirewallBackend=nftables", "FirewallBackend=iptables")
    )
    node.host.restart_firewalld()
    node.call("apply", pillar)
    return "it cannot be proven that our own rules are in force: with firewalld's iptables backend"


@pytest.mark.parametrize(
    "unproven",
    [
        runtime_rule_lost,
        kernel_rule_lost,
        a_node_is_missing,
        *(
            exhaustive(each)
            for each in (
                permanent_file_lost,
                nothing_applied,
                zone_file_just_edited,
                iptables_backend,
            )
        ),
    ],
)
def test_without_proof_nothing_is_touched_in_test_mode_either(scripted, pillar, unproven):
    told = unproven(scripted, pillar)
    before = scripted.everything()
    predicted = refusal(scripted, pillar, test=True)
    assert told in predicted
    assert refusal(scripted, pillar) == predicted
    assert scripted.everything() == before


# --- failures in the middle ---


@contextlib.contextmanager
def zone_file_read_only(node):
    """Make the zone's file read-only for firewalld alone, so that the permanent step is refused."""
    node.run("mount", "--bind", ZONE_FILE, ZONE_FILE)
    node.run("mount", "-o", "remount,bind,ro", ZONE_FILE)
    yield
    node.run("umount", ZONE_FILE)


def in_zone(node):
    """What the zone allows, in both layers."""
    return [
        sorted(re.split(r"[\n ]", node.firewall_cmd(*layer, "--zone=public", option)))
        for layer in ([], ["--permanent"])
        for option in ("--list-ports", "--list-rich-rules")
    ]


def test_a_refused_permanent_step_undoes_everything(scripted, pillar):
    before, runtime = permanently(scripted), scripted.runtime()
    kernel = scripted.nft("list", "ruleset")
    with zone_file_read_only(scripted):
        told = refusal(scripted, pillar)
    assert "firewalld refused removePort" in told
    assert "everything was undone: the node is as it was before" in told
    assert permanently(scripted) == before
    assert (scripted.runtime(), scripted.nft("list", "ruleset")) == (runtime, kernel)
    # The next run succeeds once the file can be written.
    assert adopt(scripted, pillar)["changes"] == {"permanent": GONE, "runtime": GONE}
    assert permanently(scripted) != before


def test_a_refused_runtime_step_undoes_the_earlier_steps(scripted, pillar):
    chain = "filter_IN_public_allow"
    handles = [
        found for found in scripted.rule_handles("tcp dport 6443 accept") if found[0] == chain
    ]
    (handle,) = [handle for _chain, handle in handles]
    files, zone = permanently(scripted), in_zone(scripted)
    scripted.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)
    told = refusal(scripted, pillar)
    assert "firewalld refused removePort" in told
    assert "everything was undone: the node is as it was before" in told
    assert permanently(scripted) == files
    # firewalld notices changed files five seconds late.
    wait_until(lambda: in_zone(scripted) == zone, "The zone is not what it was", timeout=10)
    kernel = scripted.nft("list", "chain", "inet", "firewalld", chain)
    assert "dport 2379-2380 accept" in kernel and "10.42.0.0/16" in kernel
    scripted.firewall_cmd("--reload")
    assert adopt(scripted, pillar)["changes"] == {"permanent": GONE, "runtime": GONE}


@pytest.mark.parametrize("stride", [3, exhaustive(1)])
def test_wherever_it_is_killed_the_zone_is_unchanged_or_fully_adopted(scripted, pillar, stride):
    host = TransactionNode(scripted.host)
    before = (permanently(host), in_zone(host)[:2])
    at, answer = 1, {"died": 1}  # Before that there is no watchdog, and no change.
    while "died" in answer:
        answer = host.drive(at, "kill", pillar, function="adopt")
        if "died" in answer:
            host.wait_until_ended()
            now = (permanently(host), in_zone(host)[:2])
            if now != before:  # It was killed after its last step.
                assert ports(host) == []
                break
        at += stride
        # firewalld notices its files with a delay; until then nothing is adopted.
        host.firewall_cmd("--reload")
    assert at > 4
    assert adopt(host, pillar)["changes"] == {}


def test_its_rollback_is_shown_as_commands_and_not_made(scripted, pillar):
    adopt(scripted, pillar)
    (refused,) = scripted.try_call("rollback", pillar)["refused"]
    assert "k3sfw puts nothing into it. Fix: firewall-cmd --permanent --zone=public" in refused
    for command in refused.partition("Fix: ")[2].split("; "):
        scripted.run(*shlex.split(command))
    assert adopt(scripted, pillar, test=True)["changes"] == {"permanent": GONE, "runtime": GONE}

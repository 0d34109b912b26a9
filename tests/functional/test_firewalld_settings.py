"""firewalld set up in other ways than its package does it: k3sfw keeps its promises under each.

A setting that this firewalld does not know is left out.
"""

import pytest

from tests import other_firewalld

WAYS = {
    "verbose": (
        "IndividualCalls=yes",
        "LogDenied=all",
        "NftablesCounters=yes",
        "RFC3964_IPv4=no",
        "IPv6_rpfilter=no",
    ),
    "leaving_all": (
        "AllowZoneDrifting=yes",
        "CleanupModulesOnExit=yes",
        "CleanupOnExit=no",
        "FlushAllOnReload=no",
        "ReloadPolicy=INPUT:ACCEPT,FORWARD:ACCEPT,OUTPUT:ACCEPT",
    ),
    "strict": (
        "DefaultZone=drop",
        "Lockdown=yes",
        "NftablesTableOwner=yes",
        "ReloadPolicy=INPUT:REJECT,FORWARD:REJECT,OUTPUT:REJECT",
        "StrictForwardPorts=yes",
    ),
}
# Without the root that the package puts in it.
WHITELIST = '<whitelist>\n  <command name="/usr/bin/other"/>\n</whitelist>\n'


def set_up(node, *settings):
    """Restart firewalld with those of the settings that it knows; return them."""
    known = node.path("/etc/firewalld/firewalld.conf").read_text()
    settings = [each for each in settings if f"\n{each.partition('=')[0]}=" in known]
    other_firewalld.configure(node.host, *settings)
    node.host.restart_firewalld()
    return settings


@pytest.mark.parametrize("way", WAYS)
def test_what_is_promised_holds_however_firewalld_is_set_up(node, pillar, new_row, way):
    settings = set_up(node, *WAYS[way])
    assert settings
    node.firewall_cmd("--zone=public", "--add-port=7/tcp")
    predicted = node.call("apply", pillar, test=True)
    assert node.call("apply", pillar) == predicted
    assert node.firewall_cmd("--zone=public", "--query-port=7/tcp") == "yes"

    assert node.call("apply", pillar)["changes"] == {}
    node.firewall_cmd("--ipset=k3s-node-4", "--remove-entry=192.0.2.21")
    rule = 'rule family="ipv4" port port="6379" protocol="tcp" accept'
    node.firewall_cmd("--policy=k3s-rows", f"--remove-rich-rule={rule}")
    assert {"runtime"} <= set(node.call("apply", pillar)["changes"])
    assert node.call("apply", pillar)["changes"] == {}

    node.call("apply", new_row)
    node.call("rollback")
    assert node.call("compare", pillar)["changes"] == {}
    node.firewall_cmd("--reload")
    assert node.call("compare", pillar)["changes"] == {}
    node.call("remove")
    kept = "FlushAllOnReload=no" in settings
    left = node.firewall_cmd("--get-ipsets")
    assert ("k3s" in left) == kept
    assert "k3s-rows" not in node.nft("list", "ruleset")
    for name in left.split():
        assert node.firewall_cmd(f"--ipset={name}", "--get-entries") == ""
    assert node.call("remove")["changes"] == {}


def test_what_a_firewalld_that_cleans_nothing_up_left_is_no_trouble_after_a_restart(node, pillar):
    set_up(node, "CleanupOnExit=no")
    node.call("apply", pillar)
    node.host.restart_firewalld()
    node.call("apply", pillar)
    assert node.call("compare", pillar)["changes"] == {}


def test_a_lockdown_without_root_is_refused_before_anything_is_touched(node, pillar, new_row):
    set_up(node, "Lockdown=yes")
    if node.run("firewall-cmd", "--query-lockdown", check=False).strip() != "yes":
        pytest.skip("this firewalld has no lockdown")
    node.path("/etc/firewalld/lockdown-whitelist.xml").write_text(WHITELIST)
    node.host.restart_firewalld()
    before = node.everything()
    (foretold,) = node.try_call("apply", pillar, test=True)["refused"]
    (refused,) = node.try_call("apply", pillar)["refused"]
    assert "firewalld is locked down" in refused == foretold
    assert node.everything() == before

    node.run("sh", "-c", refused.partition(" Fix: ")[2])
    node.call("apply", pillar)
    assert node.call("apply", new_row)["changes"]
    assert node.call("compare", new_row)["changes"] == {}


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_a_host_without_ipv6_gets_its_rows(node, pillar, new_row, backend):
    # As with ipv6.disable=1: no address, and an ip6tables that fails, so firewalld goes without.
    for program in ("ip6tables", "ip6tables-restore"):
        node.run("ln", "--symbolic", "--force", "/bin/false", f"/usr/sbin/{program}")
    # Typed on the host: outside of it the same path is the machine's.
    node.run("sysctl", "--quiet", "net.ipv6.conf.all.disable_ipv6=1")
    set_up(node, f"FirewallBackend={backend}")
    node.call("apply", pillar)
    assert node.call("apply", new_row)["changes"]
    assert node.call("apply", new_row)["changes"] == {}
    assert 'port port="9100"' in node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules")
    node.firewall_cmd("--reload")
    assert node.call("compare", new_row)["changes"] == {}
    node.call("remove")

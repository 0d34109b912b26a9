"""Foreign configuration survives apply and remove byte for byte, permanent or runtime-only."""

import pytest

from tests.selection import exhaustive


@pytest.fixture
def furnished(node):
    """Create an operator's firewall: zone, policy, ipset, direct rule and runtime-only changes."""
    for permanent in (
        ["--new-zone=office"],
        ["--zone=office", "--add-source=198.51.100.0/24"],
        ["--zone=office", "--add-service=http"],
        ["--new-ipset=friends", "--type=hash:ip"],
        ["--ipset=friends", "--add-entry=198.51.100.7"],
        ["--new-policy=theirs"],
        ["--policy=theirs", "--add-ingress-zone=ANY"],
        ["--policy=theirs", "--add-egress-zone=HOST"],
        ["--policy=theirs", "--add-rich-rule=rule family=ipv4 source ipset=friends drop"],
        ["--zone=public", "--add-port=8443/tcp"],
    ):
        node.firewall_cmd("--permanent", *permanent)
    node.firewall_cmd("--reload")
    for runtime in (
        ["--zone=public", "--add-port=9999/tcp"],
        ["--zone=public", "--remove-service=ssh"],
        ["--zone=public", "--add-source-port=7777/udp"],
        ["--zone=public", "--add-forward-port=port=81:proto=tcp:toport=82"],
        ["--zone=public", "--add-masquerade"],
        ["--zone=office", "--change-interface=eth0"],
        ["--zone=home", "--add-source=203.0.113.0/24"],
        ["--zone=public", "--add-rich-rule=rule service name=ftp log prefix=ftp accept"],
        ["--policy=theirs", "--add-port=12/tcp"],
        ["--ipset=friends", "--add-entry=198.51.100.8"],
        ["--ipset=friends", "--remove-entry=198.51.100.7"],
        ["--direct", "--add-rule", "ipv4", "filter", "INPUT", "0", "-p", "tcp", "-j", "RETURN"],
        ["--direct", "--add-chain", "ipv4", "filter", "theirs"],
    ):
        node.firewall_cmd(*runtime)
    return node


def foreign(node):
    """Everything that is not ours, in files and at runtime, in a comparable form."""
    files = {name: seen[0] for name, seen in node.files().items() if "/k3s" not in name}
    runtime = {key: each for key, each in node.runtime().items() if not key[1].startswith("k3s")}
    return files, runtime


def test_an_apply_with_a_reload_and_a_remove_keep_what_is_not_ours(furnished, pillar):
    before = foreign(furnished)
    with furnished.reload_counter() as reloads:
        furnished.call("apply", pillar)
        assert reloads.count() == 1
    assert foreign(furnished) == before
    furnished.call("remove")
    assert foreign(furnished) == before


def test_remove_leaves_no_object_file_or_kernel_rule_of_ours(node, pillar):
    before = {name: content for name, (content, _time, _inode) in node.files().items()}
    node.call("apply", pillar)
    pillar["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22"]}
    node.call("apply", pillar)
    predicted = node.call("remove", test=True)
    assert node.call("remove") == predicted
    assert {name: content for name, (content, _time, _inode) in node.files().items()} == before
    assert not [name for _kind, name in node.runtime() if name.startswith("k3s")]
    assert "k3s" not in node.nft("list", "ruleset")
    assert node.call("remove") == {"changes": {}, "reloads": [], "notices": []}


def test_a_remove_without_anything_of_ours_does_not_reload(furnished):
    before = foreign(furnished)
    with furnished.reload_counter() as reloads:
        furnished.call("remove")
        assert reloads.count() == 0
    assert foreign(furnished) == before


IPSET = ("ipset k3s-node-4", ["--new-ipset=k3s-node-4", "--type=hash:ip"])
ZONE = ("zone k3s", ["--new-zone=k3s"])
POLICY = ("policy k3s-rows", ["--new-policy=k3s-rows"])


@pytest.mark.parametrize(
    ("name", "make", "active"),
    [
        (*IPSET, False),
        (*ZONE, True),
        (*POLICY, True),
        *(
            exhaustive(*each, active)
            for each, active in ((IPSET, True), (ZONE, False), (POLICY, False))
        ),
    ],
)
def test_another_owners_object_of_our_name_is_named_and_left_alone(
    node, pillar, name, make, active
):
    node.firewall_cmd("--permanent", *make)
    if active:
        node.firewall_cmd("--reload")
    before = node.everything()
    refused = node.try_call("apply", pillar)["refused"]
    assert any(f"the permanent {name} was not created by k3sfw" in each for each in refused)
    assert node.everything() == before
    node.call("remove")
    assert node.everything() == before


def test_a_k3s_object_of_another_owner_survives(node, pillar):
    node.firewall_cmd("--permanent", "--new-zone=k3s-operators")
    node.firewall_cmd("--permanent", "--zone=k3s-operators", "--add-port=4444/tcp")
    node.firewall_cmd("--reload")
    file = node.path("/etc/firewalld/zones/k3s-operators.xml")
    before = file.read_bytes()
    node.call("apply", pillar)
    node.call("remove")
    assert file.read_bytes() == before
    assert "4444/tcp" in node.firewall_cmd("--zone=k3s-operators", "--list-ports")

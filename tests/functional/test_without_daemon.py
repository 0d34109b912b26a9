"""Where no firewalld runs its files are written: in an image, and on a host where it is stopped."""

import json
import subprocess
import sys

import pytest

from lab.booted import keeper
from lab.booted.booted_host import BootedHost
from tests.functional.images import Image, by_id, furnish, salt_call

BUILDERS = """
nft add table inet firewalld
nft add chain inet firewalld filter_INPUT '{ type filter hook input priority 0; policy accept; }'
nft add rule inet firewalld filter_INPUT tcp dport 22 accept
nft add table inet firewalld_policy_drop
iptables -t nat -N CNI-HOSTPORT-DNAT
"""
BROKEN = "<zone><service name='nonesuch'/></zone>"


@pytest.fixture(scope="module")
def off():
    with BootedHost() as host:
        # As if it were disabled: neither of the links that systemctl enable makes.
        units = host.path("/etc/systemd/system")
        for link in (
            units / "multi-user.target.wants/firewalld.service",
            units / "dbus-org.fedoraproject.FirewallD1.service",
        ):
            link.unlink(missing_ok=True)
        yield host


@pytest.fixture(scope="module")
def builder(off):
    """The host that builds the image: it has a firewall of its own."""

    def run(*argv):
        done = subprocess.run(
            [*_inside(off), *argv], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    run("sh", "-ec", BUILDERS)
    return run


def _inside(host):
    return ["nsenter", f"--target={host.neighbour.pid}", "--mount", "--net", "--"]


@pytest.fixture(scope="module")
def built(off, builder, tables):
    """The image, before and while it is built, and after it was built again."""
    image = Image(off.root, _inside(off), keeper.DISK)
    furnish(off.root, tables)
    image.salt_call("saltutil.sync_all")
    kept = {
        "image": image,
        "ruleset": builder("nft", "list", "ruleset"),
        "before": image.files("etc/firewalld"),
        "predicted": image.states("k3s.firewall", "test=True"),
    }
    kept["touched"] = image.files("etc/firewalld") != kept["before"]
    kept["done"] = image.states("k3s.firewall")
    kept["files"] = image.files("etc/firewalld")
    kept["again"] = image.states("k3s.firewall")
    return kept


@pytest.fixture(scope="module")
def tables():
    """Tables without nodes: an image does not know its cluster."""
    anyone = {"protocol": "tcp", "port": 6379}
    etcd = {"protocol": "tcp", "port": "2379-2380", "source": "server", "destination": "server"}
    pods = {"protocol": "any", "source": "pods", "destination": "any"}
    return {"ports": {"cluster": {"etcd": etcd, "pods": pods}, "manager": {"redis": anyone}}}


def results(states):
    return {name: state["result"] for name, state in states.items()}


def changes(states):
    return {name: state["changes"] for name, state in states.items() if state["changes"]}


def test_an_image_is_built_as_the_dry_run_says(built):
    assert set(results(built["done"]).values()) == {True}
    assert not built["touched"]
    assert "k3s_firewalld_service" in changes(built["done"])
    written = changes(built["done"])["k3s_firewall_prepared"]
    assert set(written) == {"permanent"}
    assert changes(built["predicted"])["k3s_firewall_prepared"] == written
    assert {name for name, result in results(built["predicted"]).items() if result is None} == set(
        changes(built["done"])
    )


def test_a_second_build_changes_nothing(built):
    assert set(results(built["again"]).values()) == {True}
    assert changes(built["again"]) == {}


def test_a_build_says_how_its_files_were_validated(built):
    for run in ("predicted", "done"):
        assert "validated: a second firewalld" in built[run]["k3s_firewall_prepared"]["comment"]


def test_nothing_of_the_building_host_is_read_or_changed(built, builder):
    assert builder("nft", "list", "ruleset") == built["ruleset"]
    image = built["image"]
    assert image.salt_call("grains.get", "k3s_node_ips") == []
    for function in ("check_ports", "check_routes", "check_zones"):
        answer = image.salt_call(f"k3sfw.{function}", check=False)
        assert answer["status"] == "UNKNOWN"
        assert "this is an image" in answer["problems"][0]
    for function in ("heal", "rollback", "status"):
        refused = image.run(*salt_call(image.python, f"k3sfw.{function}"), check=False)
        assert refused.returncode != 0
        assert "this is an image" in refused.stderr
    assert image.salt_call("k3sfw.plan")["changes"] == {}


def test_what_differs_in_the_files_of_an_image_is_corrected(built):
    image = built["image"]
    (image.folder / "etc/firewalld/policies/k3s-rows.xml").unlink()
    (image.folder / "etc/firewalld/zones/k3s.xml").write_text("<zone>")
    planned = image.salt_call("k3sfw.plan")["changes"]["permanent"]
    assert set(planned) == {"policy k3s-rows", "zone k3s"}
    assert image.salt_call("k3sfw.apply")["changes"]["permanent"] == planned
    assert image.files("etc/firewalld") == built["files"]


def test_an_image_that_firewalld_would_not_load_is_refused_and_left_alone(built):
    image = built["image"]
    theirs = image.folder / "etc/firewalld/zones/broken.xml"
    rows = image.folder / "etc/firewalld/policies/k3s-rows.xml"
    theirs.write_text(BROKEN)
    rows.unlink()
    try:
        failed = image.states("k3s.firewall", check=False)["k3s_firewall_prepared"]
        assert failed["result"] is False
        assert "would not load: INVALID_SERVICE" in failed["comment"]
        assert not rows.exists()
    finally:
        theirs.unlink()
    image.states("k3s.firewall")
    assert image.files("etc/firewalld") == built["files"]


def test_an_image_of_a_newer_version_is_refused_until_a_downgrade_is_allowed(built):
    image = built["image"]
    kept = image.folder / "var/lib/k3sfw/tables.json"
    kept.write_text(json.dumps({"version": "99.0.0"}))
    refused = image.states("k3s.firewall", check=False)["k3s_firewall_prepared"]
    assert refused["result"] is False
    assert "allow_downgrade=True" in refused["comment"]
    assert image.salt_call("k3sfw.apply", "allow_downgrade=True")["result"] is True
    assert image.states("k3s.firewall")["k3s_firewall_prepared"]["result"] is True


def test_a_removal_leaves_an_image_as_it_was(built):
    image = built["image"]
    predicted = image.states("k3s.remove", "test=True")
    assert image.files("etc/firewalld") == built["files"]
    removed = image.states("k3s.remove")
    assert set(results(removed).values()) == {True}
    assert changes(predicted)["k3s_firewall_removed"] == changes(removed)["k3s_firewall_removed"]
    assert image.files("etc/firewalld") == built["before"]
    assert not (image.folder / "var/lib/k3sfw").exists()
    assert changes(image.states("k3s.remove")) == {}
    image.states("k3s.firewall")
    assert image.files("etc/firewalld") == built["files"]


def test_a_node_made_of_the_image_starts_with_its_rules_and_adds_only_its_cluster(
    built, off, tables
):
    assert off.boot() == "running"
    assert off.run(["firewall-cmd", "--state"]).stdout == "running\n"
    opened = off.run(["firewall-cmd", "--policy=k3s-rows", "--list-rich-rules"]).stdout
    assert 'rule family="ipv4" port port="6379" protocol="tcp" accept' in opened
    nodes = {
        "s1": {"role": "server", "addresses": ["192.0.2.11"]},
        "a1": {"role": "agent", "addresses": ["192.0.2.21"]},
    }
    furnish(off.root, {**tables, "nodes": nodes})
    first, second = (_apply(off) for _ in range(2))
    assert set(results(first).values()) == {True}
    joined = changes(first)
    assert set(joined) == {"k3s_firewall"}
    assert set(joined["k3s_firewall"]) == {"runtime", "permanent"}
    for layer in joined["k3s_firewall"].values():
        names = set(layer)
        assert names == {"ipset k3s-agent-4", "ipset k3s-node-4", "ipset k3s-server-4"}
    assert changes(second) == {}
    now = {
        name: content for name, (content, _mode) in Image(off.root).files("etc/firewalld").items()
    }
    assert {name for name, (content, _mode) in built["files"].items() if now[name] != content} == {
        f"ipsets/k3s-{name}-4.xml" for name in ("agent", "node", "server")
    }


def _apply(host, *words, check=True):
    command = salt_call(sys.executable, "state.apply", "k3s.firewall", *words)
    done = host.run(command, check=check)
    return by_id(json.loads(done.stdout)["local"])


@pytest.fixture
def booted(off, built, tables):
    """A node made of the image, with firewalld running."""
    if not off.on:
        off.boot()
    own = {"s1": {"role": "server", "addresses": ["192.0.2.11"]}}
    furnish(off.root, {**tables, "nodes": own})
    off.run(["systemctl", "unmask", "firewalld"])
    assert False not in results(_apply(off)).values()
    return off


def test_a_firewalld_that_was_stopped_and_disabled_runs_again_as_predicted(booted):
    booted.run(["systemctl", "disable", "--now", "firewalld"])
    booted.path("/etc/firewalld/policies/k3s-rows.xml").unlink()
    predicted, done = _apply(booted, "test=True"), _apply(booted)
    assert False not in results(predicted).values()
    assert set(results(done).values()) == {True}
    for name in ("k3s_firewall_prepared", "k3s_firewall"):
        assert predicted[name]["changes"] == done[name]["changes"]
    assert set(done["k3s_firewall_prepared"]["changes"]["permanent"]) == {"policy k3s-rows"}
    assert booted.run(["firewall-cmd", "--state"]).stdout == "running\n"
    assert booted.run(["systemctl", "is-enabled", "firewalld"]).stdout == "enabled\n"
    assert changes(_apply(booted)) == {}


def test_a_masked_firewalld_stays_masked_and_the_state_says_so(booted):
    booted.run(["systemctl", "mask", "--now", "firewalld"])
    failed = _apply(booted, check=False)
    assert failed["k3s_firewalld_service"]["result"] is False
    assert "masked" in failed["k3s_firewalld_service"]["comment"]
    assert failed["k3s_firewall_prepared"]["result"] is True
    assert "firewalld" not in [process.name for process in booted.processes()]

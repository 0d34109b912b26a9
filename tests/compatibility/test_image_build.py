"""An image is built in a chroot, and firewalld starts from what was written there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.functional.images import Image, by_id, furnish
from tests.paths import ROOT

pytestmark = pytest.mark.skipif(
    "K3SFW_IMAGE" not in os.environ, reason="make matrix has the root file system"
)

PYTHON = "/opt/salt/bin/python3"
ROWS = "etc/firewalld/policies/k3s-rows.xml"
BROKEN = "<zone><service name='nonesuch'/></zone>"
TABLES = {
    "schedule": {"enabled": True, "interval": 600, "splay": 60, "heal": 120, "check": 600},
    "ports": {
        "cluster": {
            "etcd": {
                "protocol": "tcp",
                "port": "2379-2380",
                "source": "server",
                "destination": "server",
            },
            "pods": {"protocol": "any", "source": "pods", "destination": "any"},
        },
        "manager": {"redis": {"protocol": "tcp", "port": 6379}},
    },
}
# The first start: a bus and a firewalld, in the image and in a network of its own.
START = """
mkdir -p /run/dbus
dbus-daemon --system --fork
firewalld --nofork --nopid >/run/firewalld.out 2>&1 &
for try in $(seq 100); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.1; done
firewall-cmd --state
firewall-cmd --policy=k3s-rows --list-rich-rules
nft list table inet firewalld
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    root = tmp_path_factory.mktemp("image") / "root"
    subprocess.run(["cp", "-a", os.environ["K3SFW_IMAGE"], root], check=True)
    furnish(root, TABLES)
    built = Image(root, ["unshare", "--net", "--"], python=PYTHON, shown=[ROOT])
    built.salt_call("saltutil.sync_all")
    yield built
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def predicted(image):
    return image.states("k3s", "test=True")


@pytest.fixture(scope="module")
def built(image, predicted):
    return image.states("k3s")


def changes(states):
    return {name: state["changes"] for name, state in states.items() if state["changes"]}


def test_an_image_without_firewalld_is_predicted_and_left_alone(image, predicted):
    assert False not in {state["result"] for state in predicted.values()}
    assert "not validated" in predicted["k3s_firewall_prepared"]["comment"]
    assert not Path(image.folder / "etc/firewalld").exists()


def test_the_package_the_rules_and_the_services_are_put_into_the_image(image, predicted, built):
    assert {state["result"] for state in built.values()} == {True}
    assert "firewalld" in built["k3s_firewalld_package"]["changes"]
    prepared = built["k3s_firewall_prepared"]
    assert prepared["changes"] == predicted["k3s_firewall_prepared"]["changes"]
    assert "validated by firewall-offline-cmd" in prepared["comment"]
    units = image.folder / "etc/systemd/system"
    assert (units / "multi-user.target.wants/firewalld.service").is_symlink()
    assert (units / "firewalld.service.wants/k3sfw-recover.service").is_symlink()
    # Those of the kernel, which is the builder's.
    assert not (image.folder / "etc/sysctl.d/90-k3sfw.conf").exists()


def test_building_again_changes_nothing(image, built):
    again = image.states("k3s")
    assert {state["result"] for state in again.values()} == {True}
    assert changes(again) == {}


def test_a_file_that_was_changed_is_corrected(image, built):
    wanted = image.files("etc/firewalld")
    (image.folder / ROWS).write_text("<policy>")
    again = image.states("k3s.firewall")
    assert set(again["k3s_firewall_prepared"]["changes"]["permanent"]) == {"policy k3s-rows"}
    assert image.files("etc/firewalld") == wanted


def test_a_configuration_that_would_not_load_is_refused(image, built):
    wanted = image.files("etc/firewalld")
    (image.folder / "etc/firewalld/zones").mkdir(exist_ok=True)
    theirs = image.folder / "etc/firewalld/zones/broken.xml"
    theirs.write_text(BROKEN)
    (image.folder / ROWS).unlink()
    returned = image.salt_call("state.apply", "k3s.firewall", check=False)
    refused = by_id(returned)["k3s_firewall_prepared"]
    assert refused["result"] is False
    assert "'nonesuch' not among existing services" in refused["comment"]
    assert not (image.folder / ROWS).exists()
    theirs.unlink()
    image.states("k3s.firewall")
    assert image.files("etc/firewalld") == wanted


def test_a_check_says_that_there_is_nothing_to_check(image, built):
    answer = image.salt_call("k3sfw.check_ports", check=False)
    assert answer["status"] == "UNKNOWN"


def test_firewalld_starts_from_the_files_of_the_image(image, built):
    shown = image.run("sh", "-ec", START).stdout
    assert shown.startswith("running\n")
    assert 'rule family="ipv4" port port="6379" protocol="tcp" accept' in shown
    assert "tcp dport 6379" in shown
    assert "k3s-server-4" in shown


def test_a_removal_leaves_nothing_of_k3sfw(image, built):
    removed = image.states("k3s.remove")
    assert {state["result"] for state in removed.values()} == {True}
    assert [name for name in image.files("etc") if "k3s" in name and "minion" not in name] == []
    assert not (image.folder / "var/lib/k3sfw").exists()
    assert changes(image.states("k3s.remove")) == {}

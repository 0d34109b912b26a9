"""Another Salt takes the place of one that runs, on a cluster whose nodes have rules.

``K3SFW_OLD_SALT`` and ``K3SFW_NEW_SALT`` name the folders of their programs. Each has a Python of
its own, which lacks what k3sfw imports beyond Salt, and wheels of that in ``wheels`` beside it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lab.spec import HostSpec
from lab.wait import wait_until
from tests import firewalld_views
from tests.cluster import salt_site
from tests.compatibility.walked_site import own_copy
from tests.compatibility.watched_packets import Way, watched

OLD, NEW = os.environ.get("K3SFW_OLD_SALT"), os.environ.get("K3SFW_NEW_SALT")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.exhaustive,
    pytest.mark.skipif(not OLD or not NEW, reason="a cell of the matrix names two Salts"),
]

OUTSIDER = HostSpec("out", "plain", 99, firewalld=False)
WAYS = (
    Way("a1", "s1", 6443, is_open=True),
    Way("s1", "a1", 10250, is_open=True),
    Way("out", "a1", 3000, is_open=True),
    Way("a1", "s1", 2379, is_open=False),
    Way("out", "s1", 10250, is_open=False),
)
JOBS = {"k3s_heal", "k3s_highstate"}
FIREWALL = "k3sfw_|-k3s_firewall_|-k3s_firewall_|-managed"
ROW = {"protocol": "tcp", "port": 9100, "source": "any", "destination": "any"}
ORDERS = {
    "the master first": ("m", "s1", "a1"),
    # Salt does not support this one. Where it works, it is as the other.
    "a minion first": ("a1", "m", "s1"),
}


@pytest.fixture(params=ORDERS)
def order(request):
    return ORDERS[request.param]


@pytest.fixture
def site():
    """The cluster under the old Salt: rules, schedule, and a change of s1 that waits."""
    with salt_site.standing("salts", Path(OLD), (OUTSIDER,), own_copies) as site:
        site.check_out()
        wheels = site.lab.srv / "k3sfw/salt/k3s/wheels"
        for programs in (OLD, NEW):
            shutil.copytree(Path(programs).parent / "wheels", wheels, dirs_exist_ok=True)
        site.sync()
        for applied in site.apply().values():
            assert applied["result"] is True, applied
        for states in site.salt("*", "state.apply", "k3s.schedule").values():
            assert all(state["result"] for state in states.values()), states
        yield site


def own_copies(host):
    """What a host installs into its Salt, no other one gets."""
    for programs in (OLD, NEW):
        own_copy(host, Path(programs).parent)


def firewall(host):
    return firewalld_views.files(host), host.run(["nft", "-s", "list", "ruleset"]).stdout


def jobs(site, host):
    said = site.salt(host.name, "schedule.list", "return_yaml=False")[host.name]
    return {name for name, job in said.items() if job.get("enabled", True)}


def lacks_packages(site, host):
    """Whether k3sfw says that it lacks one, and how to get it, until it has it."""
    said = site.salt(host.name, "k3sfw.role")[host.name]
    if said in ("server", "agent"):
        return False
    assert "the Python package" in said and "run state.apply k3s.requirements" in said, said
    return True


def begin_to_wait(site, within):
    """Give s1 a row more, at runtime until it is confirmed."""
    file = site.lab.srv / "pillar/k3s/site.sls"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"k3s": {"ports": {"cluster": {"exporter": ROW}}}}))
    answer = site.salt("s1", "k3sfw.apply", "confirm=manual", f"within={within}")["s1"]
    assert answer["result"] is True, answer


def test_nothing_closes_or_opens_and_what_waits_goes_on(site, order):
    s1 = site.host("s1")
    begin_to_wait(site, within=1200)
    before = {host.name: firewall(host) for host in site.nodes}
    with watched(site.lab.hosts, WAYS) as packets:
        for name in order:
            site.install_salt(site.host(name), Path(NEW))
        lacking = {host.name: lacks_packages(site, host) for host in site.nodes}
        assert {host.name: firewall(host) for host in site.nodes} == before
        assert {host.name: jobs(site, host) >= JOBS for host in site.nodes} == {
            "s1": True,
            "a1": True,
        }
        # s1 says that its change waits: packages came first, in the same run.
        waits = site.salt("s1", "state.apply", "k3s.firewall")["s1"][FIREWALL]
        assert waits["result"] is False and "unless it is confirmed" in waits["comment"]
        kept = site.salt("s1", "k3sfw.confirm")["s1"]
        assert set(kept["changes"]) == {"permanent"}, kept
        site.salt("a1", "state.apply", "k3s.firewall")
        again = site.salt("*", "state.apply", "k3s.firewall")
    assert packets.wrong() == {}
    assert packets.waited() == 0
    assert lacking == {"s1": True, "a1": True}
    for states in again.values():
        assert states[FIREWALL]["result"] is True, states
        assert states[FIREWALL]["changes"] == {}
    assert "9100" in s1.run(["firewall-cmd", "--policy=k3s-rows", "--list-rich-rules"]).stdout
    versions = site.salt_run("manage.versions")
    assert sorted(versions["Up to date"]) == ["a1", "s1"]


def test_what_is_not_confirmed_is_undone_though_salt_is_another(site):
    s1 = site.host("s1")
    before = firewall(s1)
    begin_to_wait(site, within=20)
    for name in ("m", "s1"):
        site.install_salt(site.host(name), Path(NEW))
    transaction = s1.path("/var/lib/k3sfw/transaction")
    wait_until(lambda: not transaction.exists(), "It is not undone", timeout=90)
    assert firewall(s1)[1] == before[1]

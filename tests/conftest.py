"""Which tests share a process, and what is shown while they run."""

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.progress import Progress
from tests.selection import is_left_to_test_all

# Of these, each test raises the hosts that it needs.
HOSTS_PER_TEST = (
    "test_adopt.py",
    "test_apply.py",
    "test_booted.py",
    "test_bound_pods.py",
    "test_drift.py",
    "test_firewalld_settings.py",
    "test_foreign.py",
    "test_guards_on_a_host.py",
    "test_healing.py",
    "test_ip_protocols.py",
    "test_shadow.py",
    "test_unavailable.py",
)


def _shared_by(nodeid):
    """What a test shares with others that then run in the same process, in their order."""
    file = nodeid.split("::")[0]
    folder, _, name = file.rpartition("/")
    if name == "test_walk.py":
        # Each way of shipping has a cluster.
        return file + re.sub(r"-check_\w+", "", nodeid.partition("[")[2])
    if folder.startswith("tests/cluster/"):
        # Each of these folders has a cluster.
        return folder
    return nodeid if folder == "tests/functional" and name in HOSTS_PER_TEST else file


def _turn(nodeid):
    """The longest first, and last what can be shared out most evenly."""
    shared = _shared_by(nodeid)
    order = ("tests/cluster/", "tests/functional/", "tests/")
    place = next((at for at, start in enumerate(order) if nodeid.startswith(start)), len(order))
    return (shared == nodeid, place, shared.endswith(".py"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the files that only ``make test-all`` runs; put all in the order of handing out."""
    for item in items:
        if is_left_to_test_all(item.nodeid.split("::")[0]):
            item.add_marker(pytest.mark.exhaustive)
    items.sort(key=lambda item: _turn(item.nodeid))


class ByHosts(LoadScopeScheduling):
    """Tests that share hosts run in one process."""

    def _split_scope(self, nodeid):
        return _shared_by(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Replace all of xdist's own ways to hand tests out."""
    config.option.loadscopereorder = False
    return ByHosts(config, log)


def pytest_configure(config):
    """Tell the progress of tests that run in several processes, unless each is named anyway."""
    if config.getoption("numprocesses", 0) and config.get_verbosity() <= 0:
        config.pluginmanager.register(Progress(config), "k3sfw-progress")

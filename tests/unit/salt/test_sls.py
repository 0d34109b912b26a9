"""The state files with logic of their own (k3s.requirements, k3s.schedule), and the links."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig

import pytest
import salt.utils.templates

from k3sfw_engine.model.sysctl_names import BRIDGE_CALLS, FORWARDING, dotted
from tests.paths import ROOT
from tests.unit.masterless import configure, salt_call

SCHEDULE = {"enabled": True, "interval": 600, "splay": 60, "heal": 120, "check": 600}
ROOTS = {
    name: {"base": [str(ROOT / folder)]}
    for name, folder in (("file_roots", "salt"), ("pillar_roots", "pillar"))
}
JOBS = ["k3s_highstate", "k3s_heal", "k3s_check"]


def rendered(name, **context):
    """Return the only state that Salt's py renderer makes of an SLS."""
    (state,) = states(name, **context)
    return state


def states(name, **context):
    """Return the function and arguments of each state that the py renderer makes of an SLS."""
    path = ROOT / "salt/k3s" / f"{name}.sls"
    answer = salt.utils.templates.py(str(path), string=True, __env__="base", **context)
    assert answer["result"], answer["data"]
    return [
        (function, {key: value for argument in arguments for key, value in argument.items()})
        for state in answer["data"].values()
        for function, arguments in state.items()
    ]


def schedule(settings, pidfile="/nowhere", metrics=None):
    pillar = {"k3s": {"schedule": settings, **({} if metrics is None else {"metrics": metrics})}}
    return states("schedule", __pillar__=pillar, __opts__={"pidfile": pidfile})


def test_the_schedule_is_what_pillar_says():
    settings = {"enabled": True, "interval": 300, "splay": 0, "heal": 60, "check": 200}
    jobs = schedule(settings, metrics={"enabled": True})
    assert [function for function, _job in jobs] == ["schedule.present"] * 3
    highstate, heal, check = (job for _function, job in jobs)
    assert (highstate["seconds"], highstate["splay"]) == (300, 0)
    assert (highstate["function"], heal["function"]) == ("state.highstate", "k3sfw.heal")
    assert (heal["seconds"], "splay" in heal) == (60, False)
    assert (check["function"], check["seconds"], check["splay"]) == ("k3sfw.check", 200, 0)
    for job in (highstate, heal, check):
        assert (job["maxrunning"], job["return_job"], job["run_on_start"]) == (1, False, False)


@pytest.mark.parametrize("metrics", [None, True, [], {"enabled": False}, {"enabled": "yes"}])
def test_a_node_without_metrics_does_not_check_by_itself(metrics):
    (_highstate, _heal, (function, check)) = schedule(SCHEDULE, metrics=metrics)
    assert (function, check["name"]) == ("schedule.absent", "k3s_check")


def test_a_disabled_schedule_is_removed():
    ((function, jobs),) = schedule({**SCHEDULE, "enabled": False}, metrics={"enabled": True})
    assert (function, jobs["names"]) == ("schedule.absent", JOBS)


def test_a_job_goes_to_a_running_minion_or_else_to_its_configuration(tmp_path):
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert {job["offline"] for _, job in schedule(SCHEDULE, tmp_path / "pid")} == {False}
    assert {job["offline"] for _, job in schedule(SCHEDULE)} == {True}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (None, ["k3s:schedule is None"]),
        ([600], ["k3s:schedule is [600]"]),
        ({**SCHEDULE, "interval": "often"}, ["k3s:schedule:interval is 'often'"]),
        ({**SCHEDULE, "interval": 0}, ["k3s:schedule:interval is 0"]),
        ({**SCHEDULE, "interval": True}, ["k3s:schedule:interval is True"]),
        ({**SCHEDULE, "interval": 1.5}, ["k3s:schedule:interval is 1.5"]),
        ({**SCHEDULE, "enabled": "no", "splay": -1}, [":enabled is 'no'", ":splay is -1"]),
        ({**SCHEDULE, "every": 5, 7: 8}, [":every is not known", ":7 is not known"]),
        ({**SCHEDULE, "heal": 0}, ["k3s:schedule:heal is 0"]),
        ({**SCHEDULE, "check": "often"}, ["k3s:schedule:check is 'often'"]),
        (
            {"enabled": False},
            [f":{name} is None" for name in ("interval", "splay", "heal", "check")],
        ),
    ],
)
def test_a_wrong_setting_is_reported_with_its_path_and_changes_nothing(settings, named):
    ((function, failure),) = schedule(settings)
    assert function == "test.fail_without_changes"
    for sentence in named:
        assert sentence in failure["comment"]
        assert sentence in failure["name"]


def test_a_second_run_changes_nothing(tmp_path):
    configure(tmp_path, grains={"k3s_role": "server"}, **ROOTS)
    runs = [salt_call(tmp_path, "state.apply", "k3s.schedule") for _ in range(2)]
    first, second = ([state["changes"] for state in run.values()] for run in runs)
    assert first == [{"k3s_highstate": "added"}, {"k3s_heal": "added"}, {}]
    assert second == [{}, {}, {}]
    assert {state["result"] for run in runs for state in run.values()} == {True}


def test_a_removal_takes_the_schedule_out_of_the_configuration_of_a_minion_that_does_not_run(
    tmp_path,
):
    configure(tmp_path, grains={"k3s_role": "server"}, **ROOTS)
    saved = tmp_path / "minion.d/_schedule.conf"
    salt_call(tmp_path, "state.apply", "k3s.schedule")
    assert "k3s_heal" in saved.read_text()
    removal = ("state.sls_id", "k3s_schedule_removed", "k3s.remove")
    removed = salt_call(tmp_path, *removal).values()
    assert [bool(each["changes"]) for each in removed] == [True, True, False]
    assert "k3s_heal" not in saved.read_text()
    assert {str(each["changes"]) for each in salt_call(tmp_path, *removal).values()} == {"{}"}


@pytest.mark.parametrize("runs", [True, False])
def test_a_removal_asks_a_running_minion_for_its_schedule(tmp_path, runs):
    if runs:
        (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    configure(tmp_path, pidfile=str(tmp_path / "pid"), **ROOTS)
    shown = salt_call(tmp_path, "state.show_sls", "k3s.remove")["k3s_schedule_removed"]
    assert {"offline": not runs} in shown["schedule"]


@pytest.mark.parametrize("name", ["k3s.routes", "k3s.metrics", "k3s"])
def test_nothing_of_the_building_host_is_set_or_measured_in_an_image(tmp_path, name):
    configure(tmp_path, grains={"k3s_role": "server", "k3s_image": True}, **ROOTS)
    shown = salt_call(tmp_path, "state.show_sls", name)
    assert "k3s_requirements" in shown
    of_host = [each for each in shown if each.startswith(("k3s_sysctl", "k3s_routes", "k3s_net"))]
    assert (of_host, "k3s_metrics" in shown) == ([], False)


def test_a_node_gets_its_routes_and_metrics(tmp_path):
    configure(tmp_path, grains={"k3s_role": "server"}, **ROOTS)
    shown = salt_call(tmp_path, "state.show_sls", "k3s")
    assert {"k3s_sysctl_net.ipv4.ip_forward", "k3s_routes", "k3s_metrics"} <= set(shown)


@pytest.fixture
def missing(monkeypatch):
    """Make these packages look missing in this Python."""
    find_spec = importlib.util.find_spec

    def without(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in names else find_spec(name)
        )

    return without


def requirements(*wheels):
    cache_dir = {"cp.cache_dir": lambda source, saltenv: list(wheels)}
    return rendered("requirements", __salt__=cache_dir)


def test_nothing_is_installed_if_nothing_is_missing():
    assert rendered("requirements", __salt__={}) == ("test.nop", {})


def test_only_missing_packages_are_installed(missing):
    missing("jeepney")
    expected = {"pkgs": ["jeepney"], "reload_modules": True}
    assert requirements() == ("pip.installed", expected)


def test_wheels_of_the_site_are_used_instead_of_the_index(missing):
    missing("jeepney", "netaddr")
    _, arguments = requirements("/cache/k3s/wheels/a.whl", "/cache/k3s/wheels/b.whl")
    assert arguments["pkgs"] == ["jeepney", "netaddr"]
    assert (arguments["no_index"], arguments["find_links"]) == (True, "/cache/k3s/wheels")


def test_without_pip_a_message_says_what_to_install(missing):
    missing("jeepney", "pip")
    function, failure = requirements()
    assert function == "test.fail_without_changes"
    assert "jeepney and pip" in failure["comment"]


def test_a_python_of_the_distribution_is_left_to_its_packages(missing, monkeypatch, tmp_path):
    missing("jeepney", "netaddr")
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    function, failure = requirements()
    assert function == "test.fail_without_changes"
    packages = "[python3-jeepney, python3-netaddr]"
    assert f"Fix: salt-call pkg.install pkgs='{packages}'" in failure["comment"]


def test_one_file_root_serves_states_and_modules_and_no_pillar(tmp_path):
    configure(tmp_path, file_roots={"base": [str(ROOT / "salt")]})
    served = set(salt_call(tmp_path, "cp.list_master"))
    assert {"top.sls", "k3s/init.sls", "_grains/k3s.py", "_modules/k3sfw.py"} <= served
    assert {"_output/k3sfw.py", "_runners/k3sfw.py"} <= served
    assert {"_states/k3sfw.py", "_utils/k3sfw_engine/__init__.py"} <= served
    assert not {path for path in served if "pillar" in path.split("/")[:-1]}
    for link in (path for path in (ROOT / "salt").iterdir() if path.is_symlink()):
        assert str(link.readlink()) == f"../{link.name}"


def test_the_state_k3s_routes_sets_every_sysctl_that_the_check_requires():
    source = (ROOT / "salt/k3s/routes.sls").read_text()
    for name in (*FORWARDING.values(), *BRIDGE_CALLS.values()):
        assert f"'{dotted(name)}'" in source, name
    assert ".rp_filter" in source

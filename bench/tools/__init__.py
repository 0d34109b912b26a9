"""The tools under test, each in a file of its own and all by the same interface.

tool            the interface: write the rules as an operator of the tool does, and the command
script          the source's own script of firewall-cmd
salt_state      Salt's own state, firewalld.present
ansible_posix   Ansible's module, ansible.posix.firewalld
system_role     linux-system-roles' firewall
k3sfw           ours, as the state k3sfw.managed
salt_call       what both states have in common; ``ansible`` what both of Ansible's have
"""

from __future__ import annotations

from bench.tools import ansible_posix, k3sfw, salt_state, script, system_role
from bench.tools.tool import Tool

TOOLS: tuple[Tool, ...] = (
    script.TOOL,
    salt_state.TOOL,
    ansible_posix.TOOL,
    system_role.TOOL,
    k3sfw.TOOL,
)

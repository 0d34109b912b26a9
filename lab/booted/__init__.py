"""A host that systemd boots, for what only systemd does: units in order, timers, a reboot.

Tests use ``booted_host.BootedHost``. It starts a ``keeper``, the process that holds the host's
``disk`` and starts its first process, in a ``root`` and a ``cgroup`` of its own. Nothing of the
machine can be changed from inside: each file system is the host's own, or read-only.
"""

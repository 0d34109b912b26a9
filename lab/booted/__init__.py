"""A host that systemd boots, for what only systemd does: units in order, timers, a reboot.

``machine.BootedHost`` is what tests use. Nothing of the machine below can be changed from
inside by accident: every file system there is the host's own, or read-only.
"""

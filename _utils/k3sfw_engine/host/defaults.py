"""How long the host's programs, kernel and daemons may take, in seconds, each with its reason."""

from __future__ import annotations

from k3sfw_engine.standalone.undo.defaults import IPTABLES_LOCK

# Far longer than any listing takes: an nft that takes longer is stuck.
NFT_SECONDS = 10.0

# Far longer than thousands of look-ups take, but the kernel's lock may be held by others.
IPROUTE_SECONDS = 20.0

# How long iptables-restore waits for other programs that hold iptables' lock: as the undo program.
IPTABLES_LOCK_SECONDS = IPTABLES_LOCK
# Including that wait, and there may be many rules.
IPTABLES_SECONDS = 30.0
IPTABLES_SAVE_NAT_SECONDS = 10.0

# Saved rules of iptables that are older were left by a start of firewalld that never came: their
# owners have recreated them since.
IPTABLES_KEPT_SECONDS = 900.0

# How often the lost rules of hostPorts are tried to be written. Each attempt begins anew because
# another program wrote into the same chains meanwhile.
HOST_PORT_ATTEMPTS = 5

# A conntrack that lists thousands of flows takes less.
CONNTRACK_SECONDS = 10.0

# The largest result of a pod's network that is read: real ones have some thousand bytes.
CNI_RESULT_BYTES = 1 << 20

# The system bus takes a connection in milliseconds, and in seconds where all cores are busy.
BUS_SECONDS = 5.0
BUS_POLL = 0.02

# The kernel answers netlink at once, or it does not have what is asked.
NETLINK_SECONDS = 5.0

# As many tracked connections as are read in a second: a busy node has a hundred thousand.
TRACKED_ENTRIES = 100_000

# systemd shows a unit's properties at once.
SYSTEMCTL_SECONDS = 10.0

# A NetworkManager that takes longer is frozen, and a check can do without its answer.
NETWORK_MANAGER_SECONDS = 2.0

# A run that holds the lock ends in a second, or in some more with thousands of nodes.
LOCK_SECONDS = 60.0

# How long a check waits for such a run to end, before it asks amid a change: the master, which asks
# many nodes at once, waits for all of them.
SETTLED_SECONDS = 10.0

# Files of which the disk is asked at once. Measured: fifteen take 27 ms in place of 166.
SYNCED_TOGETHER = 8

"""K3s's default networks, and the limits of what a table may hold, each with its reason."""

from __future__ import annotations

import re

# https://docs.k3s.io/cli/server#networking
POD_CIDRS = ("10.42.0.0/16",)
SERVICE_CIDRS = ("10.43.0.0/16",)

EVERYONE = ("0.0.0.0/0", "::/0")
TABLE_NAMES = ("cluster", "manager")

# An ipset is named k3s-group-NAME-4, and ipset names should not exceed 32 characters.
GROUP_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,18}[a-z0-9]?\Z")
ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
MINION_ID = re.compile(r"[^\s/\x00-\x1f\x7f]{1,255}\Z")

# A description is a line in a report.
LONGEST_TEXT = 200
# A value in a message; the rest is cut off.
LONGEST_VALUE = 60
# Nodes or addresses that one sentence names: it is read by a person, on every node.
MOST_NAMED = 5

# A reload takes 1.2 seconds with 10,000 ipset entries and more than 25 with 100,000 (measured), and
# blocks new connections meanwhile.
MOST_NETWORKS = 20_000

# Each is judged at every apply, and takes 7 ms in a cluster of a thousand nodes (measured).
MOST_TESTS = 200

# Debian's node_exporter reads this folder unless it is told otherwise (/usr/share/doc/
# prometheus-node-exporter/README.textfile).
METRICS_FOLDER = "/var/lib/prometheus/node-exporter"

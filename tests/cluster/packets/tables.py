"""The tables of the source document, copied by hand, and the paths that they open.

What is judged is not asked about them: neither pillar nor the engine is read here.
"""

from itertools import product

CLUSTER = (
    # Protocol, port, source, destination
    ("TCP", "2379-2380", "Server", "Server"),
    ("TCP", "6443", "Any", "Server"),
    ("UDP", "8472", "Any", "Any"),
    ("TCP", "10250", "Any", "Any"),
    ("TCP", "5001", "Any", "Server"),
    ("TCP", "9500", "Any", "Any"),
    ("TCP", "8500", "Any", "Any"),
    ("Any", "N/A", "10.42.0.0/16", "Any"),
    ("Any", "N/A", "10.43.0.0/16", "Any"),
    ("TCP", "80", "Any", "Any"),
    ("TCP", "443", "Any", "Any"),
)
# From any client towards any node.
MANAGER = (
    ("TCP", "443"),
    ("TCP", "3000"),
    ("TCP", "9095"),
    ("TCP", "9093"),
    ("TCP", "9090"),
    ("TCP", "6379"),
)
ROWS = (*CLUSTER, *((*row, "Client", "Any") for row in MANAGER))

ROLES = ("server", "agent")
# The hosts behind a word in the source column: "Any" is any node of the cluster, a client any host.
KINDS = {
    "Server": ("server",),
    "Any": ROLES,
    "10.42.0.0/16": ("pod",),
    "10.43.0.0/16": ("service",),
    "Client": ("server", "agent", "pod", "service", "outsider"),
}


def ports_of(row):
    """The ports that a row names; none if it is for all of them."""
    if row[1] == "N/A":
        return set()
    low, _, high = row[1].partition("-")
    return set(range(int(low), int(high or low) + 1))


LISTED = set().union(*map(ports_of, ROWS))
# The neighbours of every listed port, the ports of a backend that is not in use, and two unrelated
# ones.
FREE, OTHER_FREE = 4000, 4001
NEIGHBOURS = {port + step for port in LISTED for step in (-1, 1)}
UNLISTED = (NEIGHBOURS | {51820, 51821, FREE, OTHER_FREE}) - LISTED
PORTS = LISTED | UNLISTED


def opened_by(rows, clients=KINDS["Client"]):
    """Whether one of these rows allows the probe."""
    kinds = {**KINDS, "Client": clients}
    paths = {
        path
        for row in rows
        for path in product(
            kinds[row[2]],
            ROLES if row[3] == "Any" else (row[3].lower(),),
            ("tcp", "udp") if row[0] == "Any" else (row[0].lower(),),
            ports_of(row) or PORTS,
        )
    }

    def is_open(asked):
        return (asked.source.kind, asked.target.role, asked.protocol, asked.port) in paths

    return is_open


is_listed = opened_by(ROWS)

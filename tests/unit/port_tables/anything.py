"""Values of every kind that a pillar may hold, right, nearly right and odd."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

from tests.unit.port_tables.reading import QUOTES

NEARLY_RIGHT = [
    "tcp",
    "Any",
    "server",
    "pods",
    "clients",
    "admins",
    "node",
    "vxlan",
    "none",
    "host-gw",
    443,
    "443",
    "80-90",
    "90-80",
    0,
    65536,
    True,
    443.0,
    "10.0.0.0/8",
    "10.0.0.1/8",
    "0.0.0.0/0",
    "::/0",
    "192.0.2.77",
    "2001:db8::77",
    ["192.0.2.0/24", "192.0.2.77"],
    {"enabled": False},
    {"role": "agent", "addresses": ["192.0.2.77"]},
    {"protocol": "any", "source": "any", "destination": "any"},
    {"protocol": "udp", "port": [1, "5-7"], "source": ["pods", "10.0.0.0/8"], "destination": "any"},
    datetime.date(2024, 1, 1),
]


LEAVES = st.one_of(
    st.sampled_from(NEARLY_RIGHT + QUOTES),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
)


KEYS = st.one_of(
    st.sampled_from(["protocol", "port", "source", "role", "addresses", "claimed", "cluster"]),
    st.text(max_size=5),
    st.integers(),
    st.none(),
    st.tuples(st.integers()),
)


ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)

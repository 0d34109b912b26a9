"""A listing of nft, and the objects of which firewalld made it.

``data/nft_listing.json`` is what nft 1.0.6 listed of firewalld 1.3.3 after ``TREE`` was applied to
s1, without the chains that no packet to a node or a pod meets.
"""

from __future__ import annotations

import json

from tests.paths import UNIT_DATA
from tests.unit.samples import changed, wanted

TREE = changed(
    "ports:manager:bgp",
    {
        "protocol": "sctp",
        "port": [179, "8000-8010"],
        "source": ["198.51.100.7", "2001:db8:b::/48", "admins"],
    },
)
TREE["groups"]["admins"] = ["198.51.100.0/28", "192.0.2.128/25", "2001:db8:a::/48"]
RUNTIME = wanted(TREE).objects
LISTING = json.loads(UNIT_DATA.joinpath("nft_listing.json").read_text())

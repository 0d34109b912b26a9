#!py
"""
``k3sfw_claims``: the nodes in the cluster of the minion that this pillar is for, as they claim to
be in the grains cache of the master. The engine merges ``k3s:nodes``, the site's pins, over them.

The cache holds the grains of every accepted minion and drops them with its key. Unlike the mine, it
needs no function to run on the minions first.
"""

import logging
import time

# Import single names: the renderer replaces a module named salt with Salt's functions.
from salt.cache import Cache
from salt.utils.minions import CkMinions
from salt.version import __version_info__

log = logging.getLogger(__name__)

# Salt 3008 gave grains a bank of their own; before, they were stored with the minion's pillar.
OWN_BANK = __version_info__ >= (3008,)
# The cache entry that pillars share, and the layout of what is stored there.
SHARED = ("k3sfw", "nodes")
LAYOUT = 3
# A claim is copied into the pillar of every node, so one minion must not claim a megabyte.
LONGEST_CLAIM = 4096
DAY = 24 * 60 * 60
# A node is heard with every state run. After so many days without any it is probably gone.
DAYS_OF_SILENCE = 30
# As long is a minion taken for a node of which nothing is known. Nodes that run report within an
# hour; a week leaves time for those that are switched off.
DAYS_OF_DOUBT = 7


def run():
    """
    Return the claims if the members of the cluster are known, and nothing if they are not: an
    unknown cluster must not look like a cluster of one node.
    """
    own_id = __opts__["id"]
    if __opts__.get("__role") != "master" or not __opts__.get("minion_data_cache"):
        return {}  # masterless, or a master without a grains cache
    matched = CkMinions(__opts__).check_minions("*", "glob")
    accepted = set(matched["minions"])
    if own_id not in accepted:
        return {}  # salt-ssh: this master has no key of this host, nor of its peers
    cluster = _cluster(__grains__)
    heard, unheard, doubted = _minions(accepted, own_id)
    nodes = _members(heard, cluster)
    found = {
        "nodes": {name: _node(claim) for name, (_stamp, claim) in nodes.items()},
        # Accepted minions without cached grains, as after the cache was cleared or Salt was
        # upgraded to 3008. Each of them is or may be a node, so the list above is incomplete.
        "unheard_minions": sorted({*_members(unheard, cluster), *doubted}),
        "silent_minions": _silent(nodes, own_id),
        # Of masters above each other, each has the grains of the minions that report to it.
        "other_masters": bool(__opts__.get("order_masters"))
        or __opts__.get("syndic_master") not in (None, "", "masterofmasters"),
    }
    return {"k3sfw_claims": {key: value for key, value in found.items() if value}}


def _members(minions, cluster):
    return {
        name: (stamp, claim)
        for name, (stamp, claim) in sorted(minions.items())
        if claim and claim["cluster"] == cluster
    }


def _silent(nodes, own_id):
    """The days since the other nodes were heard, if they are many."""
    now = time.time()
    days = {name: int((now - stamp) / DAY) for name, (stamp, _claim) in nodes.items() if stamp}
    return {name: many for name, many in days.items() if many >= DAYS_OF_SILENCE and name != own_id}


def _claim(grains):
    if not grains.get("k3s_role"):
        return {}  # not a K3s node
    claim = {
        "cluster": _cluster(grains),
        "role": _bounded(grains["k3s_role"]),
        "addresses": _bounded(grains.get("k3s_node_ips", [])),
    }
    # Known only where flannel runs. The checks use it; it opens nothing.
    if grains.get("k3s_pod_cidrs"):
        claim["pod_cidrs"] = _bounded(grains["k3s_pod_cidrs"])
    return claim


def _cluster(grains):
    return _bounded(grains.get("k3s_cluster", "default"))


def _bounded(value):
    # Text, or a list of text. Deeper values could be too deep for Salt to merge.
    items = value if isinstance(value, list) else [value]
    if any(not isinstance(item, str) for item in items):
        return f"neither text nor a list of texts, but {type(value).__name__}"
    text = repr(value)
    return value if len(text) <= LONGEST_CLAIM else f"{text[:80]}…"


def _node(claim):
    # A claim is passed on unchecked, even if it makes no sense: the engine reports the minion and
    # the value, and decides what follows. Dropped here, a live etcd member with broken grains would
    # be locked out by its peers; an error here would take the pillar from every node.
    return {name: value for name, value in claim.items() if name != "cluster"}


def _minions(accepted, own_id):
    """
    ``{minion: (time of its cache entry, claim)}`` of those that are in the cache, the same of those
    that were, and the minions of which nothing has ever been known.

    Reading the grains of all minions for the pillar of each takes quadratic time. So each pillar
    shares its answer with the next one, which reads only the entries written since then. It is also
    the memory of who was a node: minions that never were one leave no doubt about the members.
    """
    cache = Cache(__opts__)  # not its factory, which may return a copy that is some seconds old
    shared = _shared(cache)
    known = {name: each for name, each in shared.get("claims", {}).items() if name in accepted}
    heard = _heard(cache, accepted - {own_id}, known)
    # The cached grains of this minion are older than these: they are written after the pillar.
    own = _claim(__grains__)
    heard[own_id] = known.get(own_id) if [own] == known.get(own_id, [])[1:] else [0, own]
    unheard = {name: each for name, each in known.items() if name not in heard}
    # A minion that was never heard has never been in an ipset, so nothing depends on it. Only when
    # this memory begins is that not known.
    now = int(time.time())
    strangers = accepted - set(heard) - set(known)
    doubted = shared.get("doubted", dict.fromkeys(strangers, now))
    doubted = {
        name: since
        for name, since in doubted.items()
        if name in strangers and now - since < DAYS_OF_DOUBT * DAY
    }
    fresh = {"layout": LAYOUT, "claims": {**unheard, **heard}, "doubted": doubted}
    if fresh != shared:
        _share(cache, fresh)
    return heard, unheard, doubted


def _heard(cache, minion_ids, known):
    heard = {}
    for minion_id in minion_ids.intersection(cache.list("grains" if OWN_BANK else "minions")):
        entry = ("grains", minion_id) if OWN_BANK else (f"minions/{minion_id}", "data")
        now = int(time.time())
        stamp = cache.updated(*entry)
        if stamp is None:
            continue
        if known.get(minion_id, (None,))[0] == stamp:
            heard[minion_id] = known[minion_id]
        elif grains := _cached_grains(cache, entry):
            # Stamps are whole seconds: an entry this young can change without a new stamp.
            heard[minion_id] = [stamp if stamp + 1 < now else 0, _claim(grains)]
    return heard


def _shared(cache):
    try:
        shared = cache.fetch(*SHARED)
        return shared if shared.get("layout") == LAYOUT else {}
    except Exception:  # missing or unreadable: nothing is known yet, and it is written again
        return {}


def _cached_grains(cache, entry):
    try:
        data = cache.fetch(*entry)
        return data if OWN_BANK else data.get("grains")
    except Exception:  # from a cache driver or a broken entry: it costs one minion, not the pillar
        log.warning("The cached grains in %s cannot be read", "/".join(entry), exc_info=True)
        return None


def _share(cache, fresh):
    try:
        cache.store(*SHARED, fresh)
    except Exception:  # a full disk slows the next pillar down, but fails none
        log.warning("The list of nodes that pillars share cannot be stored", exc_info=True)

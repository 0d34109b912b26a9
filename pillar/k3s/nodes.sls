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
LAYOUT = 2
# A claim is copied into the pillar of every node, so one minion must not claim a megabyte.
LONGEST_CLAIM = 4096


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
    claims = _claims_of(accepted - {own_id})
    # The cached grains of this minion are older than these: they are written after the pillar.
    claims[own_id] = _claim(__grains__)
    cluster = __grains__.get("k3s_cluster", "default")
    nodes = {
        minion_id: _node(claim)
        for minion_id, claim in sorted(claims.items())
        if claim and claim["cluster"] == cluster
    }
    # Accepted minions without cached grains, as after the cache was cleared or Salt was upgraded to
    # 3008. Each of them may be a node, so the list above may be incomplete.
    unheard = sorted(accepted - set(claims))
    return {"k3sfw_claims": {"nodes": nodes, **({"unheard_minions": unheard} if unheard else {})}}


def _claim(grains):
    if not grains.get("k3s_role"):
        return {}  # not a K3s node
    claim = {
        "cluster": grains.get("k3s_cluster", "default"),
        "role": _bounded(grains["k3s_role"]),
        "addresses": _bounded(grains.get("k3s_node_ips", [])),
    }
    # Known only where flannel runs. The checks use it; it opens nothing.
    if grains.get("k3s_pod_cidrs"):
        claim["pod_cidrs"] = _bounded(grains["k3s_pod_cidrs"])
    return claim


def _bounded(value):
    text = repr(value)
    return value if len(text) <= LONGEST_CLAIM else f"{text[:80]}…"


def _node(claim):
    # A claim is passed on unchecked, even if it makes no sense: the engine reports the minion and
    # the value, and decides what follows. Dropped here, a live etcd member with broken grains would
    # be locked out by its peers; an error here would take the pillar from every node.
    return {name: value for name, value in claim.items() if name != "cluster"}


def _claims_of(minion_ids):
    # Reading the grains of all minions for the pillar of each takes quadratic time. So each pillar
    # shares its answer with the next one, which reads only the entries written since then.
    cache = Cache(__opts__)  # not its factory, which may return a copy that is some seconds old
    known = _shared(cache)
    claims, stamped = {}, {}
    for minion_id in minion_ids.intersection(cache.list("grains" if OWN_BANK else "minions")):
        entry = ("grains", minion_id) if OWN_BANK else (f"minions/{minion_id}", "data")
        now = int(time.time())
        stamp = cache.updated(*entry)
        if stamp is None:
            continue
        if known.get(minion_id, (None,))[0] == stamp:
            claims[minion_id] = known[minion_id][1]
        else:
            grains = _cached_grains(cache, entry)
            if not grains:
                continue
            claims[minion_id] = _claim(grains)
        # Stamps are whole seconds: an entry this young can change without a new stamp.
        if stamp + 1 < now:
            stamped[minion_id] = [stamp, claims[minion_id]]
    if stamped != known:
        _share(cache, stamped)
    return claims


def _shared(cache):
    try:
        shared = cache.fetch(*SHARED)
        return shared["claims"] if shared.get("layout") == LAYOUT else {}
    except Exception:  # missing or unreadable: it is only a copy, and is written again
        return {}


def _cached_grains(cache, entry):
    try:
        data = cache.fetch(*entry)
        return data if OWN_BANK else data.get("grains")
    except Exception:  # from a cache driver or a broken entry: it costs one minion, not the pillar
        log.warning("The cached grains in %s cannot be read", "/".join(entry), exc_info=True)
        return None


def _share(cache, stamped):
    try:
        cache.store(*SHARED, {"layout": LAYOUT, "claims": stamped})
    except Exception:  # a full disk slows the next pillar down, but fails none
        log.warning("The list of nodes that pillars share cannot be stored", exc_info=True)

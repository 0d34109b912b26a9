"""A master without its daemons: folders and options, used through Salt's own cache and pillar."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import salt.config
import salt.pillar
from salt.cache import Cache
from salt.version import __version_info__

from k3sfw_engine.port_tables.merge_pillar import merge_pillar
from tests.paths import PILLAR


def claims(role, *addresses, **more):
    return {"k3s_role": role, "k3s_cluster": "default", "k3s_node_ips": list(addresses), **more}


class Master:
    """A master that knows minions and compiles their pillar."""

    def __init__(self, folder, **settings):
        (folder / "site/k3s").mkdir(parents=True, exist_ok=True)
        self.site = folder / "site/k3s/site.sls"
        given = {
            "root_dir": str(folder),
            "pillar_roots": {"base": [str(folder / "site"), str(PILLAR)]},
            **settings,
        }
        (folder / "master").write_text(json.dumps(given))
        self.opts = salt.config.master_config(str(folder / "master"))
        self.keys = Path(self.opts["pki_dir"], "minions")
        self.keys.mkdir(parents=True, exist_ok=True)
        self.cached = Path(self.opts["cachedir"])
        self.cache = Cache(self.opts)

    def accept(self, *minions):
        for minion in minions:
            (self.keys / minion).write_text("a public key")

    def hear(self, minion, grains, age=60):
        """Accept a minion, and cache its grains as of ``age`` seconds ago."""
        self.accept(minion)
        if __version_info__ >= (3008,):
            self.cache.store("grains", minion, grains)
        else:
            self.cache.store(f"minions/{minion}", "data", {"grains": grains, "pillar": {}})
        if self.opts["cache"] == "localfs":
            heard = time.time() - age
            os.utime(self.entry(minion), (heard, heard))

    def join(self, minion, grains):
        """Compile the pillar of a minion, and cache its grains then, as a master does."""
        self.accept(minion)
        nodes = self.nodes(minion, grains)
        self.hear(minion, grains, age=0)
        return nodes

    def entry(self, minion):
        return next(p for p in self.cached.rglob("*.p") if minion in (p.stem, p.parent.name))

    @property
    def shared(self):
        """What pillars have left in the cache for those after them: each file, and its content."""
        return {path: path.read_bytes() for path in (self.cached / "k3sfw").rglob("*.p")}

    def pillar(self, minion, grains, pillarenv=None):
        compiler = salt.pillar.Pillar(dict(self.opts), grains, minion, "base", pillarenv=pillarenv)
        compiled = compiler.compile_pillar()
        return json.loads(json.dumps(compiled))

    def tree(self, minion="s1", grains=None):
        """The tree below k3s as the engine reads it."""
        return merge_pillar(self.pillar(minion, grains or claims("server", "192.0.2.11")))

    def nodes(self, minion="s1", grains=None):
        return self.tree(minion, grains).get("nodes")

    def forget_grains(self, *minions):
        """Clear these minions' cached grains, as salt-run cache.clear_grains does."""
        for minion in minions:
            self.entry(minion).unlink()

    def age_doubts(self, days):
        """Let the days pass since the memory of nodes began."""
        memory = self.cache.fetch("k3sfw", "memory")
        for minion in memory["doubted"]:
            memory["doubted"][minion] -= days * 24 * 60 * 60
        self.cache.store("k3sfw", "memory", memory)

    def let_pass(self, seconds):
        """Let the time pass since a pillar looked at all minions."""
        memory = self.cache.fetch("k3sfw", "memory")
        self.cache.store("k3sfw", "memory", {**memory, "looked": memory["looked"] - seconds})

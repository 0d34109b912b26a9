"""What minions claim by their grains, changed and taken back."""

from contextlib import contextmanager

from lab.wait import wait_until


@contextmanager
def claimed(cluster, name, grain, value):
    """A node with a false claim, as an attacker on the node could make it send."""

    def is_known(wanted):
        return cluster.salt_run("cache.grains", name)[name][grain] == wanted

    true = cluster.salt_run("cache.grains", name)[name][grain]
    cluster.salt([name], "grains.set", grain, value, force=True)
    try:
        wait_until(lambda: is_known(value), f"{name}'s claim did not reach the master", timeout=20)
        yield
    finally:
        cluster.salt([name], "grains.delkey", grain, force=True)
        wait_until(lambda: is_known(true), f"{name} did not take its claim back", timeout=20)

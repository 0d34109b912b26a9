"""What may run beside what: a cluster's tests share it, and a module's tests share their hosts."""

from xdist.scheduler import LoadScopeScheduling

# These take as long as all the others of a cluster together.
OF_THE_SECOND_CLUSTER = ("test_check_ports.py", "test_paths.py", "test_wireguard.py")
# Those that raise hosts for themselves.
OF_NO_CLUSTER = ("test_lab.py", "test_salt_first_start.py")


class ByHosts(LoadScopeScheduling):
    """With several processes, what shares hosts runs in one of them, in its order."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        if not file.startswith("tests/cluster/") or file.endswith(OF_NO_CLUSTER):
            return file
        return "second cluster" if file.endswith(OF_THE_SECOND_CLUSTER) else "cluster"


def pytest_xdist_make_scheduler(config, log):
    """Replace all of xdist's own ways to hand tests out."""
    # As they are collected the longest come first; by their number it would be the shortest.
    config.option.loadscopereorder = False
    return ByHosts(config, log)

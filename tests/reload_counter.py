"""Count the reloads of a host's firewalld."""

import time
from contextlib import ExitStack, contextmanager


class ReloadCounter:
    """Counts the reloads of firewalld by the signal that each of them ends with."""

    RULE = "type='signal',interface='org.fedoraproject.FirewallD1',member='Reloaded'"

    def __init__(self, host):
        self.host = host

    def __enter__(self):
        self.log = self.host.path("/run/reloads")
        with self.log.open("w") as output:
            self.monitor = self.host.popen(
                ["dbus-monitor", "--system", self.RULE], stdout=output, stderr=output
            )
        self._wait_for(lambda: self.log.read_text())
        return self

    def __exit__(self, *_error):
        self.monitor.terminate()
        self.monitor.wait(10)

    def count(self):
        # One more signal after all that we caused tells that theirs have arrived.
        marker = f"k3sfw.marker{time.monotonic_ns()}"
        self.host.run(
            [
                "dbus-send",
                "--system",
                "/k3sfw",
                "org.fedoraproject.FirewallD1.Reloaded",
                f"string:{marker}",
            ]
        )
        self._wait_for(lambda: marker in self.log.read_text())
        return self.log.read_text().count("member=Reloaded") - self.log.read_text().count("marker")

    @staticmethod
    def _wait_for(condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "dbus-monitor shows nothing"
            time.sleep(0.02)


@contextmanager
def counting_reloads(hosts):
    """Give what tells how often each of these hosts, by name, has reloaded in the block."""
    with ExitStack() as stack:
        counters = {name: stack.enter_context(ReloadCounter(host)) for name, host in hosts.items()}
        yield lambda: {name: counter.count() for name, counter in counters.items()}

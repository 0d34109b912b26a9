"""salt-run k3sfw.report on a whole cluster: the page opens in Chromium and says what was cut."""

import contextlib
import json

import pytest

from tests import forked
from tests.cluster.packets.reach import responding
from tests.cluster.packets.tables import LISTED
from tests.headless_chromium import WIDTHS, chromium, opened

pytestmark = pytest.mark.cluster

VXLAN = 8472
API_RULE = 'rule family="ipv4" source ipset="k3s-node-4" port port="6443" protocol="tcp" accept'
PAGE = "/srv/cluster.html"
FIX = "salt s1 state.apply k3s.firewall"


@pytest.fixture(scope="module")
def broken(applied):
    """The cluster with every service, one rule less, and a minion that does not answer."""
    applied.salt_run("saltutil.sync_all")
    with contextlib.ExitStack() as stack:
        for host in applied.nodes.values():
            stack.enter_context(responding(host, LISTED - {VXLAN}))
        host, silent = applied.host("s1"), applied.host("a2")
        host.run(["firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={API_RULE}"])
        applied.stop_minion(silent)
        try:
            yield applied
        finally:
            applied.start_minion(silent)
            applied.salt("s1", "state.apply", "k3s.firewall")


def test_the_page_of_a_real_cluster_says_what_was_cut_at_every_size(broken, tmp_path):
    words = ["--out=json", "k3sfw.report", f"html={PAGE}", "timeout=10"]
    done = forked.salt(broken.lab.master, "salt-run", words)
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads(done.stdout)["data"]
    page = tmp_path / "cluster.html"
    page.write_bytes(broken.lab.master.path(PAGE).read_bytes())
    assert page.stat().st_size == data["bytes"]
    with chromium() as browser:
        for width in WIDTHS:
            for scripts in (True, False):
                with opened(browser, page, width=width, scripts=scripts) as found:
                    assert FIX in found.texts_of(".problem code.command")
                    assert any("a2" in fact for fact in found.texts_of(".facts .bad"))
                    assert (found.said, found.overflow()) == ([], 0)

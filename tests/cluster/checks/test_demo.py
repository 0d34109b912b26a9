"""The demo on a real cluster: every step ends as it should, and the cluster of K3s is healthy."""

from pathlib import Path

import pytest

from lab.demo import DONE, Demo
from lab.demo_steps import PARTS
from lab.k3s import start

# make demo shows the same.
pytestmark = [pytest.mark.cluster, pytest.mark.exhaustive]


@pytest.fixture
def demo(applied):
    """The demo on the cluster of all tests, of which nothing stays."""
    try:
        yield Demo(applied.lab)
    finally:
        start.stop(applied.lab)
        applied.lab.master.path(DONE).unlink(missing_ok=True)
        # Which pods are whose: the nodes forget it.
        applied.salt("*", "saltutil.refresh_grains")


def test_every_step_of_the_demo_ends_as_it_should(demo, capsys):
    for part in PARTS:
        demo.show(part)
    lines = capsys.readouterr().out.splitlines()
    lines += demo.end(600).splitlines()
    assert max(map(len, lines)) <= 80
    assert "# lab/on m salt s1 state.apply k3s.firewall" in lines
    for check in ("check_ports", "check_routes", "check_zones"):
        at = lines.index(f"# lab/on m salt '*' k3sfw.{check}")
        nodes = [line.split()[:2] for line in lines[at + 1 : at + 6]]
        assert nodes == [[name, "OK"] for name in ("a1", "a2", "s1", "s2", "s3")]
    (address,) = (line.split()[1] for line in lines if line.startswith("  xdg-open "))
    page = Path(address).read_text()
    assert '<h1 id="headline">Nothing is wrong</h1>' in page

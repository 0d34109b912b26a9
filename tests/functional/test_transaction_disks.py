"""A full disk or a truncated file leaves the node in the old or the new state."""

import contextlib

import pytest

from tests.functional.hosts import standing
from tests.functional.knocking import CLOSED, knocking
from tests.functional.transactions import TransactionNode, steps_of
from tests.selection import half_of


@pytest.fixture(scope="module")
def raised():
    with standing("disks") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    """The applied host."""
    host = TransactionNode(raised.host("s1"))
    host.call("apply", pillar)
    return host


@contextlib.contextmanager
def small_disk(node, folder):
    """Put the folder on a small disk of its own."""
    node.run("cp", "-a", folder, "/run/kept")
    node.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=0750", "tmpfs", folder)
    node.run("cp", "-a", "/run/kept/.", folder)
    try:
        yield
    finally:
        node.run("rm", "-rf", "/run/kept")
        node.run("cp", "-a", folder, "/run/kept")
        node.run("umount", folder)
        node.run("cp", "-a", "/run/kept/.", folder)
        node.run("rm", "-rf", "/run/kept")


def drive_on_a_failing_disk(node, folder, step, way, pillar, **options):
    """The answer of a run whose disk fails at this step; afterwards the disk has room again."""
    answer = node.drive(step, way, pillar, folder=folder, **options)
    assert "died" not in answer
    assert node.run("firewall-cmd", "--check-config") == "success\n"
    node.run("mount", "-o", "remount,rw", folder)
    node.run("rm", "-f", f"{folder}/filling")
    node.wait_until_ended()
    node.assert_nothing_is_left()
    return answer


@contextlib.contextmanager
def knocking_at_what_is_closed(raised):
    """Check that no connection reaches a listener on a closed port meanwhile."""
    with knocking(raised.host("out"), raised.host("s1"), CLOSED) as counts:
        yield
    begun, through = counts
    assert begun > 20 and through == 0


@pytest.mark.parametrize(
    ("way", "folder"), half_of(("fill", "read-only"), ("/etc/firewalld", "/var/lib/k3sfw"))
)
def test_a_full_disk_leaves_the_node_old_or_new(node, pillar, new_row, folder, way):
    steps, old, new = steps_of(node, pillar, new_row)
    with small_disk(node, folder):
        for step in ("runtime", "permanent", "put_files"):
            answer = drive_on_a_failing_disk(node, folder, steps.index(step), way, new_row)
            assert node.state() in (old, new), (step, answer)
            if "refused" in answer and folder in answer["refused"][0]:
                assert "Fix: make room" in " ".join(answer["refused"])
            node.firewall_cmd("--reload")
            assert node.state() in (old, new), (step, answer)
            node.call("apply", pillar)
            assert node.state() == old


@pytest.mark.parametrize(("way", "function"), half_of(("fill", "read-only"), ("apply", "remove")))
def test_a_full_disk_in_a_first_apply_or_a_removal_leaves_the_node_old_or_new(
    raised, node, pillar, function, way
):
    folder, other = "/etc/firewalld", {"apply": "remove", "remove": "apply"}[function]
    node.call("remove")
    node.call(other, pillar)
    old = node.state()
    steps = node.drive(99, "kill", pillar, function=function)["steps"]
    new = node.state()
    with small_disk(node, folder):
        for step in ("files", "reload", "permanent"):
            node.call(other, pillar)
            with knocking_at_what_is_closed(raised):
                answer = drive_on_a_failing_disk(
                    node, folder, steps.index(step), way, pillar, function=function
                )
            assert node.state() in (old, new), (step, answer)


@pytest.mark.parametrize("folder", ["/etc/firewalld", "/var/lib/k3sfw"])
def test_nothing_starts_if_the_disk_cannot_be_written(node, new_row, folder):
    before = node.everything()
    with small_disk(node, folder):
        node.run("mount", "-o", "remount,ro", folder)
        refused = node.try_call("apply", new_row)["refused"]
        node.run("mount", "-o", "remount,rw", folder)
    assert "cannot be written (Read-only file system" in refused[0]
    assert "Fix: make room" in refused[0]
    files, runtime, kernel = node.everything()
    assert {name: seen[0] for name, seen in files.items()} == {
        name: seen[0] for name, seen in before[0].items()
    }
    assert runtime == before[1]
    assert sorted(kernel.splitlines()) == sorted(before[2].splitlines())


@pytest.mark.parametrize(
    ("file", "function"),
    half_of(("policies/k3s-rows.xml", "zones/operators.xml"), ("apply", "remove")),
)
def test_a_file_truncated_during_a_change_opens_nothing(raised, node, pillar, function, file):
    path, other = f"/etc/firewalld/{file}", {"apply": "remove", "remove": "apply"}[function]
    node.call("remove")
    node.call(other, pillar)
    old = node.state()
    steps = node.drive(99, "kill", pillar, function=function)["steps"]
    new = node.state()
    for step in ("put_files", "reload", "permanent"):
        node.call(other, pillar)
        with knocking_at_what_is_closed(raised):
            answer = node.drive(steps.index(step), "truncate", pillar, function=function, file=path)
        assert "died" not in answer
        if "operators" in file:
            node.path(path).unlink()
        node.wait_until_ended()
        assert node.state() in (old, new), (step, answer)
        node.assert_nothing_is_left()

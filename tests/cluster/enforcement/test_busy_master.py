"""A busy master is not a lost one: a change is kept while its real processes do not answer."""

import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.wait import wait_until
from tests.cluster.enforcement.one_more_row import TRANSACTION, has_exporter, outcomes
from tests.selection import exhaustive
from tests.ssh_sessions import ended

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

BUSY = "the master is reached, but busy"
# Fifty requests at once, again and again; the first answer is told.
REQUESTS = """
import asyncio, sys
import salt.channel.client, salt.config
from tornado.ioloop import IOLoop

opts = salt.config.minion_config("/etc/salt/minion")
opts["master_uri"] = f"tcp://{sys.argv[1]}:4506"
told = []

async def ask():
    channel = salt.channel.client.AsyncReqChannel.factory(opts, io_loop=IOLoop.current())
    while True:
        await channel.send({"cmd": "_file_envs"}, timeout=300, tries=1)
        if not told:
            told.append(True)
            print("answered", flush=True)

async def main():
    await asyncio.gather(*(ask() for _ in range(50)))

asyncio.run(main())
"""


def masters(host, name=""):
    """The processes of the master that Salt calls so."""
    found = []
    for each in host.processes():
        command = Path(f"/proc/{each.pid}/cmdline").read_text().replace("\0", " ")
        if "salt-master" in command and name in command:
            found.append(each.pid)
    assert found, f"no {name} runs"
    return found


@contextmanager
def stopped(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def stopped_while_it_changes(host, pids):
    """Stop these processes from the first step of a change until its end."""
    transaction = host.path(TRANSACTION)

    def stop():
        wait_until(transaction.exists, "No change has begun", timeout=120, every=0.001)
        with stopped(pids):
            wait_until(lambda: not transaction.exists(), "It does not end", timeout=120)

    thread = threading.Thread(target=stop)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("name", ["MWorker-", exhaustive("")])
def test_a_change_is_kept_while_the_masters_processes_stand_still(changed, name):
    host = changed.host("s1")
    with stopped_while_it_changes(host, masters(changed.lab.master, name)):
        answer, retcode = changed.salt_call("s1", "k3sfw.apply")
    assert (answer["result"], retcode) == (True, 0)
    assert BUSY in answer["comment"]
    assert outcomes(changed) == ["kept"]
    assert has_exporter(host) == (True, True)


@pytest.mark.exhaustive
def test_a_change_is_kept_while_the_master_serves_fifty_requests_at_once(changed):
    host, client, master = changed.host("s1"), changed.host("a1"), changed.lab.master
    command = [sys.executable, "-c", REQUESTS, master.ipv4]
    with ended(client.popen(command, stdout=-1, stderr=-3)) as asking:
        assert asking.stdout.readline() == "answered\n"
        answer, retcode = changed.salt_call("s1", "k3sfw.apply")
        assert asking.poll() is None
    assert (answer["result"], retcode) == (True, 0)
    assert outcomes(changed) == ["kept"]
    assert has_exporter(host) == (True, True)

"""Real sshd and ssh between two hosts of a lab: live sessions, which no apply may close."""

import shutil
import signal
from contextlib import contextmanager
from subprocess import PIPE

from lab.wait import wait_until

FOLDER = "/run/guarded"
CONFIG = f"""\
HostKey {FOLDER}/host
AuthorizedKeysFile {FOLDER}/user.pub
PidFile {FOLDER}/sshd.pid
ListenAddress 0.0.0.0
ListenAddress ::
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
"""


@contextmanager
def ended(process):
    """End what runs on a host, and wait until it has."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def sshd(host, client, port):
    """A real sshd, and the command by which the client may log in."""
    for each in (host, client):
        # Of an earlier session; ssh-keygen would ask whether to write over it.
        shutil.rmtree(each.path(FOLDER), ignore_errors=True)
        each.run(["mkdir", "-p", FOLDER, "/run/sshd"])
    for name in ("host", "user"):
        host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{FOLDER}/{name}"])
    key = client.path(f"{FOLDER}/user")
    key.write_bytes(host.path(f"{FOLDER}/user").read_bytes())
    key.chmod(0o600)
    host.path(f"{FOLDER}/config").write_text(CONFIG)
    command = ["/usr/sbin/sshd", "-D", "-f", f"{FOLDER}/config", "-p", str(port)]
    with ended(host.popen(command)):
        wait_until(
            lambda: f":{port}" in host.run(["ss", "-Hltn"]).stdout,
            "sshd does not listen",
            timeout=10,
        )
        yield [
            *("ssh", "-p", str(port), "-i", f"{FOLDER}/user", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        ]


@contextmanager
def session(host, client, port, *, family="ipv4"):
    """A live session of a real ssh."""
    with sshd(host, client, port) as ssh:
        log = client.path(f"{FOLDER}/log")
        with log.open("w") as output:
            login = client.popen(
                [*ssh, f"root@{getattr(host, family)}", "echo in; cat"], stdout=output, stdin=PIPE
            )
        with ended(login):
            wait_until(lambda: "in" in log.read_text(), "ssh does not log in", timeout=10)
            yield

"""Programs of a host that a server there starts by a fork: see ``forking_server``."""

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.daemons import salt_program
from lab.errors import CommandFailed
from lab.wait import wait_until

SERVER = Path(__file__).with_name("forking_server.py")

ENGINE = [
    f"k3sfw_engine.commands.{module}"
    for module in ("adopt", "check_ports", "check_zones", "firewall_cmd_script", "heal", "rollback")
]
SALT = [
    f"salt.{module}" for module in ("cli.run", "cli.salt", "client", "output", "runner", "scripts")
]
CLIENT = ["firewall.client"]

_servers = []


def engine(host, program, arguments, given, timeout=120):
    """What a program of ours, which calls the engine, answers to this stdin."""
    return _run(host, "engine", sys.executable, ENGINE, program, arguments, given, timeout)


def salt(master, name, arguments, timeout=300):
    """What Salt's program of this name answers on the master, and its return code."""
    return _run(master, "salt", sys.executable, SALT, salt_program(name), arguments, "", timeout)


def firewall_cmd(host, arguments, timeout=60):
    """What firewall-cmd, with its own Python, answers."""
    python, program = "/usr/bin/python3", "/usr/bin/firewall-cmd"
    done = _run(host, "client", python, CLIENT, program, arguments, "", timeout)
    if done.returncode:
        raise CommandFailed(done.returncode, ["firewall-cmd", *arguments], done.stdout, done.stderr)
    return done


def _run(host, name, python, modules, program, arguments, given, timeout):
    path = f"/run/forking-{name}"
    if not host.path(path).exists():
        command = [python, str(SERVER), path, *modules]
        with host.path(f"{path}.log").open("w") as log:
            # It ends with its host.
            _servers.append(host.popen(command, stdin=-3, stdout=log, stderr=log))
        wait_until(host.path(path).exists, f"{SERVER} does not start", timeout=60, every=0.02)
    with (
        socket.socket(socket.AF_UNIX) as connection,
        tempfile.TemporaryFile("w+") as stdin,
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
    ):
        stdin.write(given)
        stdin.seek(0)
        connection.settimeout(timeout)
        connection.connect(str(host.path(path)))
        request = json.dumps([str(program), list(arguments)]).encode()
        files = [stdin, stdout, stderr]
        socket.send_fds(connection, [request], [file.fileno() for file in files])
        code = int(connection.recv(16))
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess([program], code, stdout.read(), stderr.read())

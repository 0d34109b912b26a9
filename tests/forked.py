"""Programs in hosts that a server starts by a fork: see ``forking_server``."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from lab.booted.booted_host import BootedHost
from lab.daemons import salt_program
from lab.errors import CommandFailed
from lab.namespaces import PATH, UNSET
from lab.wait import wait_until
from tests import other_firewalld

SERVER = Path(__file__).with_name("forking_server.py")

ENGINE = [
    f"k3sfw_engine.commands.{module}"
    for module in ("adopt", "check_ports", "check_zones", "firewall_cmd_script", "heal", "rollback")
]
SALT = [
    f"salt.{module}"
    for module in ("cli.call", "cli.run", "cli.salt", "client", "output", "runner", "scripts")
]
CLIENT = ["firewall.client"]

# The file of /proc/PID/ns for each of nsenter's options that bears another name.
NAMESPACES = {"mount": "mnt"}

_servers = {}
_one_at_a_time = threading.Lock()


def engine(host, program, arguments, given, timeout=120):
    """What a program of ours, which calls the engine, answers to this stdin."""
    server = _server("engine", sys.executable, ENGINE)
    return _run(server, host, program, arguments, given, timeout)


def salt(host, name, arguments, timeout=300, programs=None):
    """What Salt's program of this name answers on the host, and its return code.

    programs
        The folder of another Salt's programs, with the Python that runs them.
    """
    if programs is None:
        server = _server("salt", sys.executable, SALT)
    else:
        server = _server(f"salt-{programs.parent.name}", programs / "python", SALT)
    return _run(server, host, salt_program(name, programs), arguments, "", timeout)


def firewall_cmd(host, arguments, timeout=60):
    """What firewall-cmd, with its own Python, answers."""
    server = _server("client", "/usr/bin/python3", CLIENT, **other_firewalld.library())
    done = _run(server, host, "/usr/bin/firewall-cmd", arguments, "", timeout)
    if done.returncode:
        raise CommandFailed(done.returncode, ["firewall-cmd", *arguments], done.stdout, done.stderr)
    return done


def _server(name, python, modules, **environment):
    """The socket of a server that has these modules; it ends with this process."""
    with _one_at_a_time:
        if name not in _servers:
            _servers[name] = _start(name, python, modules, environment)
    path, _process = _servers[name]
    return path


def _start(name, python, modules, environment):
    """A new server: its socket, and the process, whose stdin is open as long as it is kept."""
    folder = Path(tempfile.mkdtemp(prefix="k3sfw-forking-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / name
    kept = {key: value for key, value in os.environ.items() if key not in UNSET}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            # Of all hosts, those that systemd boots may do least.
            ["setpriv", *BootedHost.limits, str(python), str(SERVER), str(path), *modules],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**kept, "PATH": PATH, **environment},
            start_new_session=True,
        )
    wait_until(path.exists, f"{SERVER} does not start", timeout=60, every=0.02)
    return path, process


def _run(server, host, program, arguments, given, timeout):
    names = [option.removeprefix("--") for option in host.namespaces]
    namespaces = [f"/proc/{host.pid}/ns/{NAMESPACES.get(name, name)}" for name in names]
    with (
        socket.socket(socket.AF_UNIX) as connection,
        tempfile.TemporaryFile("w+") as stdin,
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
    ):
        stdin.write(given)
        stdin.seek(0)
        connection.settimeout(timeout)
        connection.connect(str(server))
        request = json.dumps([namespaces, str(program), list(arguments)]).encode()
        files = [stdin, stdout, stderr]
        socket.send_fds(connection, [request], [file.fileno() for file in files])
        code = int(connection.recv(16))
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess([program], code, stdout.read(), stderr.read())

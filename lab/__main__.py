"""The lab's command line: ``python -m lab up`` and the rest.

Only arguments and exit codes are handled here; ``lab.cluster`` does the work.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import time
from typing import NoReturn

from lab import daemons
from lab.cluster import Lab
from lab.errors import LabError
from lab.host import Host
from lab.k3s.start import start
from lab.lab_folder import DEFAULT_NAME
from lab.spec import DEFAULT_HOSTS, HostSpec

# Commands that pass arguments on, and how many they read themselves. argparse would take options of
# the other program for its own.
PASSING_ON = {"exec": 1, "salt": 0, "salt-call": 1}
# As a reader types it at the top of the checkout.
PYTHON = ".venv/bin/python"


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and carry it out."""
    ours, theirs = _split(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(ours)
    options.command = theirs
    try:
        result: int = options.act(options)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{PYTHON} -m lab",
        description="A cluster of real Salt and firewalld on one machine.",
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="which lab (%(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the lab and wait until it is ready")
    up.add_argument("--hosts", help="only these of the default hosts, e.g. m,s1,a1")
    up.add_argument("--no-salt", action="store_true", help="everything but Salt")
    up.set_defaults(act=_up)

    down = commands.add_parser("down", help="end the lab and remove its files")
    down.set_defaults(act=_down)

    run = commands.add_parser("exec", help="run a command on a host")
    run.add_argument("host")
    run.set_defaults(act=_exec)

    salt = commands.add_parser("salt", help="run salt on the master")
    salt.set_defaults(act=_salt)

    call = commands.add_parser("salt-call", help="run salt-call on a host")
    call.add_argument("host")
    call.set_defaults(act=_salt_call)

    k3s = commands.add_parser("k3s", help="make the nodes look as if K3s ran on them")
    k3s.set_defaults(act=_k3s)

    hosts = commands.add_parser("hosts", help="show the hosts and what runs on them")
    hosts.set_defaults(act=_hosts)
    return parser


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Divide the arguments into our own and those to pass on."""
    words = enumerate(argv)
    for index, word in words:
        if word == "--name":
            next(words, None)
        elif not word.startswith("-"):
            end = index + 1 + PASSING_ON.get(word, len(argv))
            return argv[:end], argv[end:]
    return argv, []


def _up(options: argparse.Namespace) -> int:
    began = time.monotonic()
    specs = _chosen(options.hosts) if options.hosts else DEFAULT_HOSTS
    say = lambda text: print(text, flush=True)  # noqa: E731
    lab = Lab(options.name, specs, salt=not options.no_salt, say=say).up()
    command = f"{PYTHON} -m lab"
    if lab.name != DEFAULT_NAME:
        command += f" --name {lab.name}"
    print(f"Lab {lab.name} is up after {time.monotonic() - began:.1f} s. Go on with:")
    if lab.with_salt:
        print(f"  {command} salt '*' test.ping")
    print(f"  {command} exec {specs[0].name} bash")
    print(f"  {command} hosts")
    print(f"  {command} down")
    return 0


def _down(options: argparse.Namespace) -> int:
    Lab(options.name).down()
    print(f"Lab {options.name} is down; nothing of it is left.")
    return 0


def _k3s(options: argparse.Namespace) -> int:
    start(Lab.attach(options.name))
    return 0


def _exec(options: argparse.Namespace) -> int:
    command = options.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise LabError(f"No command given. Fix: exec {options.host} bash, for instance")
    _become(Lab.attach(options.name).host(options.host), command)


def _salt(options: argparse.Namespace) -> int:
    master = Lab.attach(options.name).master
    _become(master, [daemons.salt_program("salt"), *options.command])


def _salt_call(options: argparse.Namespace) -> int:
    host = Lab.attach(options.name).host(options.host)
    _become(host, [daemons.salt_program("salt-call"), *options.command])


def _hosts(options: argparse.Namespace) -> int:
    hosts = Lab.attach(options.name).hosts
    first = max(map(len, [*hosts, "HOST"])) + 1
    line = f"{{:<{first}}}{{:<8}}{{:<12}}{{:<15}}{{}}"
    print(line.format("HOST", "ROLE", "IPV4", "IPV6", "RUNS"))
    for host in hosts.values():
        runs = ", ".join(host.daemons()) if host.alive else "down"
        row = line.format(host.name, host.role, host.ipv4, host.ipv6, runs)
        print(textwrap.fill(row, 80, subsequent_indent=" " * (first + 35), break_on_hyphens=False))
    return 0


def _chosen(names: str) -> tuple[HostSpec, ...]:
    known = {spec.name: spec for spec in DEFAULT_HOSTS}
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise LabError(f"There is no host {name}. Fix: choose from {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def _become(host: Host, command: list[str]) -> NoReturn:
    """Replace this process by the command, with our terminal, signals and exit code."""
    argv = [*host.prefix, *command]
    # ^C must end only the command; nsenter waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())

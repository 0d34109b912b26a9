"""The lab's command line: ``python -m lab up`` and the rest.

Only words and exit codes here; everything that is done is done by ``lab.cluster``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import NoReturn

from lab import daemons
from lab.cluster import Lab
from lab.errors import LabError
from lab.host import Host
from lab.k3s.start import start
from lab.lab_folder import DEFAULT_NAME
from lab.spec import DEFAULT_HOSTS, HostSpec

# Commands that hand words on, and how many words they read themselves. argparse would
# take an option meant for the other program for one of its own.
HANDING_ON = {"exec": 1, "salt": 0, "salt-call": 1}


def main(argv: list[str] | None = None) -> int:
    """Read the command line and do what it says."""
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
        prog="python -m lab",
        description="A cluster of real Salt and firewalld on one machine.",
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="which lab (%(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="raise the lab and wait until all of it serves")
    up.add_argument("--hosts", help="only these of the default hosts, e.g. m,s1,a1")
    up.add_argument("--no-salt", action="store_true", help="everything but Salt")
    up.set_defaults(act=_up)

    down = commands.add_parser("down", help="end the lab and remove all of it")
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
    """Divide the words into those for us and those to hand on."""
    words = enumerate(argv)
    for index, word in words:
        if word == "--name":
            next(words, None)
        elif not word.startswith("-"):
            end = index + 1 + HANDING_ON.get(word, len(argv))
            return argv[:end], argv[end:]
    return argv, []


def _up(options: argparse.Namespace) -> int:
    began = time.monotonic()
    specs = _chosen(options.hosts) if options.hosts else DEFAULT_HOSTS
    say = lambda text: print(text, flush=True)  # noqa: E731
    lab = Lab(options.name, specs, salt=not options.no_salt, say=say).up()
    command = "python -m lab"
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
        raise LabError(f"Say what to run on {options.host}, for instance: exec {options.host} bash")
    _become(Lab.attach(options.name).host(options.host), command)


def _salt(options: argparse.Namespace) -> int:
    master = Lab.attach(options.name).master
    _become(master, [daemons.salt_program("salt"), *options.command])


def _salt_call(options: argparse.Namespace) -> int:
    host = Lab.attach(options.name).host(options.host)
    _become(host, [daemons.salt_program("salt-call"), *options.command])


def _hosts(options: argparse.Namespace) -> int:
    line = "{:<8}{:<8}{:<14}{:<18}{}"
    print(line.format("HOST", "ROLE", "IPV4", "IPV6", "RUNS"))
    for host in Lab.attach(options.name).hosts.values():
        runs = ", ".join(host.daemons()) if host.alive else "down"
        print(line.format(host.name, host.role, host.ipv4, host.ipv6, runs))
    return 0


def _chosen(names: str) -> tuple[HostSpec, ...]:
    known = {spec.name: spec for spec in DEFAULT_HOSTS}
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise LabError(f"There is no host {name}: choose from {', '.join(known)}.")
    return tuple(known[name] for name in wanted)


def _become(host: Host, command: list[str]) -> NoReturn:
    """Turn into the command: its exit code, its terminal and its signals are ours."""
    argv = [*host.prefix, *command]
    # nsenter waits for the command, so ^C is for the command alone to decide on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m lab.demo``: show what k3sfw does, step by step, on a cluster that looks alive.

Each step is printed as the command that a reader would type. ``demo_steps`` has the steps and what
must come of them; here they are carried out.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import demo_output as show
from lab.cluster import Lab
from lab.daemons import CHECKOUT
from lab.demo_steps import END, PACKETS, PARTS, REPORT_FILE, SITE, SITE_FILE, Expected, Part, Step
from lab.errors import LabError
from lab.k3s.start import pod_address, start
from lab.lab_folder import DEFAULT_NAME

# On the lab's master: the parts that a later run can leave out.
DONE = "/var/lib/k3sfw-demo"
# Seconds for one step, with all hosts on one slow core.
PATIENCE = 900


def main() -> int:
    """Run the demo; the lab stays up."""
    began = time.monotonic()
    try:
        demo = Demo(_standing_lab())
        for part in PARTS:
            demo.show(part)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. make demo starts again, make stop ends the lab.")
        return 130
    print(f"\n{demo.end(round(time.monotonic() - began))}")
    return 0


def _standing_lab() -> Lab:
    try:
        return Lab.attach(DEFAULT_NAME)
    except LabError:
        show.title("A cluster of network namespaces, with real Salt and firewalld")
        show.command([".venv/bin/python", "-m", "lab", "up"])
        return Lab(DEFAULT_NAME, say=lambda text: print(f"  {text}", flush=True)).up()


class Demo:
    """Carries out steps on one lab, and remembers the fix that was printed last."""

    def __init__(self, lab: Lab) -> None:
        """Prepare the lab for a run."""
        self._lab = lab
        self._fix = ""
        site = lab.master.path(SITE_FILE)
        if site.exists():
            if site.read_text() != SITE + "\n":
                raise LabError(
                    f"{SITE_FILE} on the lab's master is not the demo's: it would be overwritten. "
                    f"Fix: move it away with lab/on m mv {SITE_FILE} /root, or end the lab with "
                    "make stop"
                )
            # Left by a demo that was interrupted.
            site.unlink()

    def show(self, part: Part) -> None:
        """Carry out the steps of one part, unless a run before did what is done once."""
        if part.once and self._done().get(part.title) == _version_of_code():
            return
        show.title(part.title)
        if part.starts_k3s:
            self._start_k3s()
        for step in part.steps:
            self.take(step)
        if part.sends_packets:
            self._send_packets()
        if part.once:
            done = {**self._done(), part.title: _version_of_code()}
            self._lab.master.path(DONE).write_text(json.dumps(done))

    def end(self, seconds: int) -> str:
        """What is printed last: the report, and what else there is to try."""
        report = self._lab.srv / Path(REPORT_FILE).relative_to("/srv")
        return END.format(seconds=seconds, report=report)

    def _done(self) -> dict[str, str]:
        """The parts that were done, each with the version of the code."""
        try:
            return dict(json.loads(self._lab.master.path(DONE).read_text()))
        except FileNotFoundError:
            return {}

    def take(self, step: Step) -> None:
        """Carry out one step and show its result."""
        command = step.command
        if step.types_fix:
            # Exactly as it was printed, in a shell on the master, where an operator would type it.
            command = ("sh", "-c", self._fix)
        if step.text:
            show.text(step.text)
        show.command(["lab/on", step.host, *(self._fix.split() if step.types_fix else command)])
        with show.waiting():
            done = self._lab.host(step.host).run(
                _for_machines(command), check=False, timeout=PATIENCE
            )
        if step.expected is Expected.SUCCESS:
            if done.returncode:
                raise LabError(f"This failed: {done.stdout}{done.stderr}")
            return
        answers = _answers(done.stdout, done.stderr)
        problems = show.answers(answers)
        self._fix = next((fix for _, fix in map(show.divided, problems) if fix), self._fix)
        _check(step, answers)

    def _start_k3s(self) -> None:
        show.command([".venv/bin/python", "-m", "lab", "k3s"])
        with show.waiting():
            start(self._lab)

    def _send_packets(self) -> None:
        """Open a connection for each packet of the list, and show whether it was allowed."""
        wrong = []
        for number, packet in enumerate(PACKETS):
            address = packet.address or pod_address(self._lab, packet.pod_of)
            connect = ("bash", "-c", f"</dev/tcp/{address}/{packet.port}")
            command = [*packet.inside, *connect]
            if not number:
                show.command(["lab/on", packet.host, *command])
            host = self._lab.host(packet.host)
            is_open = not host.run(command, check=False, timeout=30).returncode
            show.packet(packet.source, f"{packet.target}:{packet.port}", is_open, packet.why)
            if is_open is not packet.is_allowed:
                wrong.append(f"{packet.source} -> {packet.target}:{packet.port}")
        if wrong:
            raise LabError(f"These did not go as the tables say: {', '.join(wrong)}")


def _version_of_code() -> str:
    """A digest that changes with every file that minions get from this checkout."""
    folders = (
        CHECKOUT / name
        for name in ("_grains", "_modules", "_output", "_runners", "_states", "_utils")
    )
    files = (file for folder in folders for file in folder.rglob("*.py"))
    text = "\n".join(sorted(f"{file} {file.stat().st_mtime_ns}" for file in files))
    return hashlib.sha256(text.encode()).hexdigest()


def _for_machines(command: tuple[str, ...]) -> list[str]:
    """The command as it is run: Salt's answer as JSON, other programs as they are."""
    options = ["--out=json", "--static"]
    if command[0] == "salt":
        return ["salt", *options, *command[1:]]
    if command[0] == "sh" and command[2].startswith("salt "):
        return ["sh", "-c", command[2] + " " + " ".join(options)]
    return list(command)


def _answers(out: str, err: str) -> Mapping[str, Any]:
    try:
        answers = json.loads(out)
    except ValueError:
        raise LabError(f"Salt gave no answer: {out}{err}") from None
    strange = [f"{name}: {answer}" for name, answer in answers.items() if answer is False]
    if strange or not answers:
        raise LabError(f"Not every node answered: {', '.join(strange) or 'none did'}")
    return dict(sorted(answers.items()))


def _check(step: Step, answers: Mapping[str, Any]) -> None:
    """Raise if the step did not show what it is here to show."""
    good = [show.is_good(answer) for answer in answers.values()]
    if step.expected is Expected.GOOD and not all(good):
        raise LabError("Not every node is as it should be.")
    if step.expected is Expected.BAD and all(good):
        raise LabError("This should have been found or refused, and was not.")
    unsaid = [text for text in step.naming if text not in str(answers)]
    if unsaid:
        raise LabError(f"The answers do not name {', '.join(unsaid)}.")


if __name__ == "__main__":
    sys.exit(main())

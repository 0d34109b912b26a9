"""Errors of a lab, as messages that say how to fix them."""

from __future__ import annotations

import subprocess


class LabError(Exception):
    """What is wrong, for the terminal, and how to fix it."""


class CommandFailed(subprocess.CalledProcessError):
    """A command inside a host failed; the message shows its output.

    The message of ``CalledProcessError`` leaves the output out.
    """

    def __str__(self) -> str:
        """Show the exit code, the command and its output."""
        printed = "\n".join(text.strip() for text in (self.stdout, self.stderr) if text)
        return f"exit code {self.returncode} from {self.cmd}:\n{printed}"

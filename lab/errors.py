"""What can go wrong in a lab, as sentences that say how to mend it."""

from __future__ import annotations

import subprocess


class LabError(Exception):
    """One sentence for the person at the terminal: what is wrong, and the mend."""


class CommandFailed(subprocess.CalledProcessError):
    """A command inside a host failed; the message shows what it printed.

    ``CalledProcessError`` hides the output, which is all a reader wants to know.
    """

    def __str__(self) -> str:
        """Name the exit code, the command and its output."""
        printed = "\n".join(text.strip() for text in (self.stdout, self.stderr) if text)
        return f"exit code {self.returncode} from {self.cmd}:\n{printed}"

"""The figures of the plan, each with its reason."""

from __future__ import annotations

# Before every zone, and room on both sides for the operator's own policies.
PRIORITY = -500

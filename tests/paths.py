"""Where the checkout and its parts are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PILLAR = ROOT / "pillar"
UTILS = ROOT / "_utils"
UNIT_DATA = ROOT / "tests/unit/data"

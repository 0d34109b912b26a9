"""The colours of page.css hold WCAG's contrasts; axe does not look into a canvas."""

from __future__ import annotations

import re

import pytest

from tests.page_files import FOLDER

CSS = (FOLDER / "page.css").read_text()
# A sign on its cell is text; cells without a sign need three to one against what is around.
SIGNS = ("blocked", "exposed", "conflict", "unproven", "ok", "never", "unasked", "self")


def schemes():
    found = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    light = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", found[0]))
    dark = light | dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", found[1]))
    return {"light": light, "dark": dark}


def luminance(color):
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signs_and_texts_can_be_read(scheme):
    colors = schemes()[scheme]
    for name in SIGNS:
        assert contrast(colors[f"on-{name}"], colors[name]) >= 4.5, name
    for name in ("ink", "soft", "link", "fail", "warn", "good", "unsure"):
        assert contrast(colors[name], colors["paper"]) >= 4.5, name
        assert contrast(colors[name], colors["panel"]) >= 4.5, name
    for at in (1, 2, 3):
        assert contrast(colors["on-earlier"], colors[f"earlier{at}"]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_small_cells_differ_from_what_is_around_them(scheme):
    colors = schemes()[scheme]
    for name in ("ok-small", "blocked", "exposed", "edge", "focus"):
        assert contrast(colors[name], colors["panel"]) >= 3, name

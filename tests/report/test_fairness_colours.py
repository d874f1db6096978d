"""Contrast of the page's colours by WCAG 2: axe-core cannot decide it inside figures, so it is computed here."""

import re

import pytest

from audio_ssl.report.html import make_environment

READ = ("ink", "soft", "accent", "warn")
SERIES = tuple(f"s{index}" for index in range(8))


def palettes():
    text = make_environment().get_template("style.css.jinja").render()
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    found = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6})", block)) for block in blocks]
    assert len(found) == 3
    return dict(zip(("light", "dark", "print"), found, strict=True))


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(one * 2 for one in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_colours():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_words_stand_out_from_paper_and_panels(name):
    colours = palettes()[name]
    for word in (*READ, *SERIES):
        assert contrast(colours[word], colours["paper"]) >= 4.5, word
    for word in READ[:3]:
        assert contrast(colours[word], colours["panel"]) >= 4.5, word
    for word in ("ink", "warn"):
        assert contrast(colours[word], colours["warn-paper"]) >= 4.5, word
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5

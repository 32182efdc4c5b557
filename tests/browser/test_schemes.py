"""The page follows the system's light or dark colour scheme, with enough contrast to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from playwright.sync_api import Page, expect

from .talking import say

READABLE = 4.5
# One selector for every kind of text in a chat.
READ = ".user .bubble, .assistant .prose, .error-text, .error .button, #title, #composer-input"
MEASURE = """(selector) => {
  const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const over = (below, colour) => {
    paint.fillStyle = `rgb(${below})`;
    paint.fillRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    return over(behind(element.parentElement), getComputedStyle(element).backgroundColor);
  };
  return [...document.querySelectorAll(selector)].map((element) => {
    const background = behind(element);
    return {
      name: element.id || element.className,
      background,
      text: over(background, getComputedStyle(element).color),
    };
  });
}"""

Scheme = Literal["light", "dark"]


def luminance(colour: list[int]) -> float:
    """As WCAG defines it."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[int], other: list[int]) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def measure(page: Page, scheme: Scheme) -> dict[str, Any]:
    """The page's background in that scheme, and the contrast of each text."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    (body,) = page.evaluate(MEASURE, "body")
    measured = page.evaluate(MEASURE, READ)
    assert len(measured) >= 7, measured
    contrasts = {one["name"]: contrast(one["background"], one["text"]) for one in measured}
    return {"background": body["background"], "contrasts": contrasts}


def test_the_page_is_readable_in_light_and_dark_scheme(open_page: Callable[..., Page]) -> None:
    page = open_page()
    for text in ("hello", "fail"):
        say(page, text)
        expect(page.locator(".assistant .prose").last).to_contain_text(
            {"hello": "hello", "fail": "So far"}[text]
        )
    expect(page.locator(".error-text")).to_be_visible()
    light, dark = measure(page, "light"), measure(page, "dark")
    assert luminance(light["background"]) > 0.8
    assert luminance(dark["background"]) < 0.05
    for scheme in (light, dark):
        poor = {name: ratio for name, ratio in scheme["contrasts"].items() if ratio < READABLE}
        assert poor == {}

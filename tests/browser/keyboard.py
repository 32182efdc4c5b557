"""A person who uses the keyboard alone: reaches controls, and expects to see where the focus is."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

STOPS = 60
"""How often Tab is pressed at most."""
RINGED = """() => {
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(document.activeElement);
  const ringed = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
  return ringed || document.activeElement.id === 'composer-input';
}"""


def box(page: Page) -> Locator:
    return page.locator("#composer-input")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def go(page: Page, target: Locator, key: str = "Tab") -> None:
    """Presses Tab or Shift+Tab until ``target`` has the focus, and expects to see that."""
    expect(target).to_be_visible()
    for _ in range(STOPS):
        page.keyboard.press(key)
        if target.evaluate("one => one === document.activeElement"):
            expect_ring(page)
            return
    raise AssertionError(f"{key} does not reach {target}")


def back(page: Page, target: Locator) -> None:
    go(page, target, "Shift+Tab")


def expect_ring(page: Page) -> None:
    assert page.evaluate(RINGED), page.evaluate("document.activeElement.outerHTML")


def expect_place(page: Page, selector: str) -> None:
    """Expects the focus at an element of the conversation, where it is seen."""
    expect(page.locator(f"{selector}:focus")).to_have_count(1)
    expect_ring(page)

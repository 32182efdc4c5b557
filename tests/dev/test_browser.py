"""The browser of the tests: what a variable names, else a headless shell, else a whole Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
import services

from .test_pythons import fake


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH. There is no apt-get in it."""
    folder = tmp_path / "programs"
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("AGENTWS_CHROMIUM", raising=False)
    return folder


def test_a_headless_shell_is_preferred_to_a_whole_browser(programs: Path) -> None:
    whole = fake(programs / "chromium", "Chromium 150")
    assert services.find_chromium(None) == whole
    shell = fake(programs / "chromium-headless-shell", "Chromium 150")
    assert services.find_chromium(None) == shell


def test_the_browser_that_a_variable_names_is_preferred_to_any_other(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(programs / "chromium-headless-shell", "Chromium 150")
    named = fake(tmp_path / "elsewhere/chrome", "Chrome 151")
    monkeypatch.setenv("AGENTWS_CHROMIUM", str(named))
    assert services.find_chromium(None) == named


def test_a_browser_that_does_not_run_is_skipped(programs: Path) -> None:
    fake(programs / "chromium-headless-shell", "try: snap install chromium", status=1)
    whole = fake(programs / "google-chrome-stable", "Chrome 151")
    assert services.find_chromium(None) == whole


def test_without_any_browser_there_is_none() -> None:
    assert services.find_chromium(None) is None

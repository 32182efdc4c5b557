"""The path of a database in each form that users write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agentws import SQLiteStore
from agentws.backends.sqlite.path import database_path
from agentws.errors import Unavailable


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory; another one is the working directory."""
    here = tmp_path / "here"
    for folder in (tmp_path / "home", here / "folder"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(here)
    return tmp_path / "home"


WRITTEN: dict[str, str] = {
    "chat.db": "{here}/chat.db",
    "./chat.db": "{here}/chat.db",
    "folder/../chat.db": "{here}/chat.db",
    "folder/chat.db": "{here}/folder/chat.db",
    "/var/lib/chat.db": "/var/lib/chat.db",
    "~/chat.db": "{home}/chat.db",
    "./~chat.db": "{here}/~chat.db",
    "chat ~ 1?.db": "{here}/chat ~ 1?.db",
    "sqlite:chat.db": "{here}/chat.db",
    "sqlite:folder/chat.db": "{here}/folder/chat.db",
    "sqlite:/var/lib/chat.db": "/var/lib/chat.db",
    "sqlite:~/chat.db": "{home}/chat.db",
    "sqlite:///chat.db": "{here}/chat.db",
    "sqlite:///folder/chat.db": "{here}/folder/chat.db",
    "sqlite:///./chat.db": "{here}/chat.db",
    "sqlite:///~/chat.db": "{home}/chat.db",
    "sqlite:////var/lib/chat.db": "/var/lib/chat.db",
    "SQLite:///chat.db": "{here}/chat.db",
    "sqlite+aiosqlite:///chat.db": "{here}/chat.db",
    "sqlite+pysqlite:////var/lib/chat.db": "/var/lib/chat.db",
}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_form_of_a_path_names_the_right_file(written: str, home: Path) -> None:
    expected = WRITTEN[written].format(here=Path.cwd(), home=home)
    assert database_path(written) == expected
    assert database_path(written.encode()) == expected  # type: ignore[arg-type]
    if not written.lower().startswith("sqlite"):
        assert database_path(Path(written)) == expected


async def test_the_database_is_created_at_its_path(home: Path) -> None:
    before = set(os.listdir("/"))
    for written, path in (
        ("sqlite:///one.db", Path.cwd() / "one.db"),
        ("sqlite:two.db", Path.cwd() / "two.db"),
        ("~/three.db", home / "three.db"),
        (f"sqlite:///{home}/four.db", home / "four.db"),
    ):
        store = SQLiteStore(written)
        await store.open()
        await store.close()
        assert path.is_file()
    assert set(os.listdir("/")) == before


@pytest.mark.parametrize(
    "written",
    [
        *(":memory:", "sqlite::memory:", "sqlite://", "sqlite:///", "sqlite:///:memory:"),
        *("file::memory:", "file::memory:?cache=shared", "file:x?mode=memory&cache=shared"),
        *("sqlite:///file:x?mode=memory", "sqlite+aiosqlite://", Path(":memory:")),
    ],
)
def test_a_database_in_memory_is_refused_in_favour_of_the_memory_store(
    written: Any, home: Path
) -> None:
    with pytest.raises(ValueError, match=r"MemoryStore\(\) keeps sessions in memory"):
        SQLiteStore(written)
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "folder"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "expected the path of a file"),
        ("  ", "expected the path of a file"),
        ("sqlite:", "expected the path of a file"),
        ("chat\0.db", "expected the path of a file"),
        ("sqlite://chat.db", "'sqlite:///relative/path'"),
        ("sqlite://host/chat.db", "'sqlite:////absolute/path'"),
        (Path("sqlite:///chat.db"), "expected the path of a file"),
        ("file:chat.db", "expected the path of a file"),
        ("file:///var/lib/chat.db", "expected the path of a file"),
        ("file:chat.db?mode=ro", "expected the path of a file"),
        ("sqlite:file:chat.db", "expected the path of a file"),
        ("postgresql://host/chat", "expected the path of a file"),
        ("sqlite:///chat.db?timeout=5", "without options"),
        ("folder/", "a directory"),
        ("/", "a directory"),
        ("sqlite:///folder/", "a directory"),
        ("~", "its path is a directory"),
        (".", "its path is a directory"),
        ("~nobody-of-that-name/chat.db", "no such home directory"),
    ],
)
async def test_a_path_that_names_no_file_is_refused_with_what_was_expected(
    written: Any, says: str, home: Path
) -> None:
    # Directories are checked when the store is opened: they may be created or removed until then.
    with pytest.raises((ValueError, Unavailable), match=says):
        await SQLiteStore(written).open()


@pytest.mark.parametrize("given", [None, 1, ["chat.db"]])
def test_a_value_that_is_not_a_path_raises_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match="expected the path of a file"):
        SQLiteStore(given)

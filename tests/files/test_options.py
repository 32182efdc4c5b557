"""What a host passes for files, and the option of the commands."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import DiskFileStore, Limits, MemoryFileStore, mount_agent_gateway
from agentws.attachments.types import accepts
from agentws.cli import options
from agentws.cli.app import check_files, files_of
from agentws.cli.problem import Problem
from agentws.testing import Script


@pytest.mark.parametrize("given", ["files", Path("files"), DiskFileStore])
def test_anything_but_a_file_store_is_refused_at_the_mount(given: Any) -> None:
    with pytest.raises(TypeError, match="expected a FileStore"):
        mount_agent_gateway(Starlette(), Script(), files=given)


@pytest.mark.parametrize(
    ("types", "error"),
    [
        ("image/*", TypeError),
        (("image",), ValueError),
        (("*",), ValueError),
        (("*/png",), ValueError),
        (("image/",), ValueError),
        (("image/png; q=1",), ValueError),
        ((".png",), ValueError),
    ],
)
def test_a_type_that_no_file_has_is_refused_at_the_mount(
    types: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        mount_agent_gateway(
            Starlette(), Script(), files=MemoryFileStore(), limits=Limits(file_types=types)
        )


@pytest.mark.parametrize(
    ("patterns", "kind", "accepted"),
    [
        (("*/*",), "application/zip", True),
        (("image/*",), "image/png", True),
        (("image/*",), "imagery/png", False),
        (("image/png", "text/*"), "text/csv", True),
        (("image/png",), "image/jpeg", False),
        ((), "image/png", False),
    ],
)
def test_a_pattern_names_one_type_or_a_family(
    patterns: tuple[str, ...], kind: str, accepted: bool
) -> None:
    assert accepts(patterns, kind) is accepted


def test_the_commands_keep_files_beside_the_sessions() -> None:
    assert isinstance(files_of("beside", "memory"), MemoryFileStore)
    assert repr(files_of("beside", "sqlite:/x/chat.db")) == "<DiskFileStore /x/chat.db.files>"
    assert repr(files_of("/y/files", "memory")) == "<DiskFileStore /y/files>"
    assert files_of("off", "sqlite:chat.db") is None


def test_a_folder_that_can_not_be_used_is_reported_before_the_server_starts(
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Problem, match="can't be used"):
        check_files(str(tmp_path / "taken"), "memory")
    check_files(str(tmp_path / "new" / "folder"), "memory")
    assert (tmp_path / "new" / "folder" / "index.sqlite3").exists()
    check_files("off", "memory")


@pytest.mark.parametrize("text", ["s3://bucket", "sqlite:chat.db"])
def test_an_address_is_no_folder(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        options.files(text)
    assert options.files("C:\\files") == "C:\\files"

"""The pages list every command and every option."""

from __future__ import annotations

import re
import runpy

import pytest

from agentws import bench
from agentws.cli import main
from agentws.cli.options import CHATTING, SERVING, Option

from .pages import ROOT, codes, page, rows, section

PAGE = page("reference/cli.md")


@pytest.mark.parametrize(("heading", "options"), [("Serving", SERVING), ("Chatting", CHATTING)])
def test_the_page_lists_every_option(heading: str, options: tuple[Option, ...]) -> None:
    table = rows(section(PAGE, f"## {heading}"))
    assert [[cell.strip("`") for cell in row[:3]] for row in table] == [
        [f"{one.flag} {one.metavar}", one.variable, one.default or ""] for one in options
    ]


def usage(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main([*arguments, "--help"])
    return capsys.readouterr().out


def test_the_page_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {row[0].strip("`").removeprefix("agentws ") for row in rows(PAGE) if len(row) == 2}
    commands = re.findall(r"^    (\w+) ", usage(capsys), re.M)
    assert listed == set(commands)


@pytest.mark.parametrize("command", ["run", "demo", "chat", "bench"])
def test_every_flag_of_a_command_is_on_the_page(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = set(re.findall(r"--[a-z-]+", usage(capsys, command))) - {"--help"}
    assert flags <= {part for code in codes(PAGE) for part in code.split()}


def test_the_sample_of_the_benchmark_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    (sample,) = re.findall(r"^    agentws bench (.*)$", PAGE, re.M)
    bench._parser().parse_args(sample.split())


def test_the_readme_lists_every_dev_command(pytestconfig: pytest.Config) -> None:
    text = section((ROOT / "README.md").read_text(), "## Contributing")
    commands = runpy.run_path(str(ROOT / ".ci/dev.py"))["COMMANDS"]
    listed = set(re.findall(r"^    \./dev (\w+)", text, re.M))
    assert listed == {name for name in commands if not name.startswith("-")} - {"help"}
    assert "--soak" in text and pytestconfig.getoption("--soak") > 0

"""A mistake of the user is one line on standard error and an exit code, never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agentws.cli import main
from agentws.cli.options import KNOWN, SERVING, check_environment, without_service_links
from agentws.cli.problem import Problem
from agentws.cli.target import is_asgi_app

from .conftest import Command
from .test_serving import SERVICE_LINKS


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "command"),
        (["rnu"], 2, "invalid choice"),
        (["run", "nowhere:Agent"], 2, "there is no module nowhere"),
        (["run", "agents.py:Echo"], 2, "expected agents:Echo"),
        (["run", "./agents.py"], 2, "expected agents:Agent"),
        (["run", "agents"], 2, "expected agents:Echo"),
        (["run", "agents:Ehco"], 2, "did you mean Echo?"),
        (["run", "not a module"], 2, "module:Agent"),
        (["run", "broken:Agent"], 1, "broken.py, line 2"),
        (["run", "unparsable:Agent"], 1, "unparsable.py, line 1"),
        (["run", "lacking:Agent"], 1, "No module named 'not_installed'"),
        (["run", "agents:AGENTS"], 2, "agents has no AGENTS"),
        (["run", "values:NUMBER"], 2, "expected an Agent subclass"),
        (["run", "values:app", "--store", "sqlite:x.db"], 2, "--store would have no effect"),
        (["demo", "--port", "x"], 2, "not a port"),
        (["demo", "--port", "70000"], 2, "not a port"),
        (["demo", "--workers", "x"], 2, "not a number of workers; expected 1 to"),
        (["demo", "--workers", "0"], 2, "not a number of workers; expected 1 to"),
        (["demo", "--workers", "2", "--store", "memory"], 2, "expected --store sqlite:PATH"),
        (["run", "agents:Echo", "--workers", "2", "--reload"], 2, "--reload serves with one"),
        (["demo", "--node", "a b"], 2, "expected 1 to 64 of"),
        (["demo", "--node", "a", "--workers", "2"], 2, "--node names one process"),
        (["demo", "--prefix", "api/"], 2, "not a prefix"),
        (["demo", "--store", "redis"], 2, "expected memory, sqlite:PATH, redis://"),
        (["demo", "--store", "sqlite:nowhere/x.db"], 1, "there is no directory"),
        (["demo", "--store", "sqlite:agents.py"], 1, "can't be opened"),
        (["demo", "--store", "sqlite:///nowhere/x.db"], 1, "there is no directory"),
        (["demo", "--store", "sqlite:."], 1, "is a directory"),
        (["demo", "--store", "sqlite:folder/"], 2, "a directory; expected the path of a file"),
        (["demo", "--store", "sqlite:"], 2, "expected the path of a file"),
        (["demo", "--store", "sqlite::memory:"], 2, "MemoryStore() keeps"),
        (["demo", "--store", "sqlite://"], 2, "expected memory"),
        (["demo", "--store", "sqlite://host/x.db"], 2, "sqlite:////absolute/path"),
        (["demo", "--store", "sqlite:file:x.db?mode=ro"], 2, "without options"),
        (["demo", "--store", "sqlite:file:x.db"], 2, "expected the path of a file"),
        (["demo", "--store", "sqlite.db"], 2, "expected memory, sqlite:PATH, redis://"),
        (["demo", "--store", "redis:host"], 2, "is no address of a Redis server"),
        (["demo", "--files", ""], 2, "the folder of the files is ''; expected a path"),
        (["demo", "--files", "~nobody-here/x"], 2, "there is no such home directory"),
        (["demo", "--files", "agents.py/x"], 1, "agents.py/x>: Not a directory"),
        (["demo", "--store", "memory:x"], 2, "'memory:x' is not a store"),
        (["demo", "--store", "redis://host?durability=safe"], 2, "is none of process, disk"),
        (["demo", "--store", "redis://host?replicas=two"], 2, "replicas=two is not a whole"),
        (["demo", "--store", "redis://host?replicas=0"], 2, "replicas is 0; expected a whole"),
        (["demo", "--store", "redis://host?protocol=3"], 2, "protocol in the address"),
        (["demo", "--store", "redis://:a-secret#1@host"], 2, "not the address of a Redis server"),
        (["demo", "--store", "wrong://:a-secret/1@host?p=a-secret"], 2, "'wrong://...@host' is"),
        (["demo", "--store", "postgresql://h:99999/d"], 2, "'99999'; expected 1 to 65535"),
        (["demo", "--store", "postgres"], 2, "is no address of a PostgreSQL server"),
        (["demo", "--store", "postgresql:host"], 2, "is no address of a PostgreSQL server"),
        (["demo", "--store", "postgresql://h/d?durability=safe"], 2, "is none of process, disk"),
        (
            ["demo", "--store", "postgresql://h/d?schema=a b"],
            2,
            "the schema is 'a b'; expected",
        ),
        (["demo", "--store", "postgresql://h/d?colour=red"], 2, "not the address of a Postgre"),
        (
            ["demo", "--store", "mysql://host/db"],
            2,
            "expected memory, sqlite:PATH, redis://",
        ),
        (["demo", "--api-key", "a-secret"], 2, "KEY=IDENTITY"),
        (["demo", "--host", "no.such.host.invalid"], 1, "not an address of this machine"),
        (["demo", "--allowed-origin", "example.com"], 2, "expected https://host"),
        (["demo", "--allowed-origin", "wss://example.com"], 2, "expected https://host"),
        (["demo", "--allowed-host", "https://example.com/"], 2, "did you mean example.com?"),
        (["demo", "--allowed-host", "example.com/path"], 2, "expected a host name"),
        (["demo", "--host", ""], 1, "not an address of this machine"),
        (["bench", "--repeats", "0"], 2, "'0' is not a number of repeats; expected 1 to 999"),
        (["chat", "ftp://host/"], 1, "not an address"),
        (["chat", "127.0.0.1:1"], 1, "Connection refused"),
    ],
)
def test_wrong_usage_is_reported_in_one_line_with_its_exit_code(
    forked_command: Command, folder: Path, arguments: list[str], status: int, said: str
) -> None:
    (folder / "broken.py").write_text("\nvalue = undefined\n")
    (folder / "unparsable.py").write_text("class\n")
    (folder / "lacking.py").write_text("import not_installed\n")
    (folder / "values.py").write_text("NUMBER = 1\nasync def app(scope, receive, send): ...\n")
    done = forked_command(*arguments, input="hi")
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr and "a-secret" not in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_ends_the_command_with_exit_code_3(forked_command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = forked_command("demo", "--port", str(port))
    assert done.returncode == 3
    assert f"try --port {port + 1}" in done.stderr and "Traceback" not in done.stderr


def test_a_misspelled_variable_is_refused(forked_command: Command) -> None:
    done = forked_command("demo", AGENTWS_ADMIN_KYE="secret")
    assert done.returncode == 2
    assert "Did you mean AGENTWS_ADMIN_KEY?" in done.stderr and "secret" not in done.stderr
    with pytest.raises(Problem):
        check_environment(["AGENTWS_ENTIRELY_ELSE"])
    check_environment([*KNOWN, "PATH", "AGENTWSX"])


def test_the_service_links_of_kubernetes_are_ignored() -> None:
    ours = {"AGENTWS_PORT": "9000", "AGENTWS_SERVICE_HOTS": "x", "AGENTWS_REDIS_PORT": "1", "A": ""}
    assert without_service_links(SERVICE_LINKS | ours) == ours


def test_a_variable_with_an_invalid_value_is_refused(forked_command: Command) -> None:
    wrong = [
        ("PORT", "x"),
        ("WORKERS", "0"),
        ("STORE", "x"),
        ("API_KEY", "a=b,secret"),
        ("API_KEY", ","),
        ("API_KEY", ""),
    ]
    wrong += [("ALLOWED_HOST", "a, http://b"), ("ALLOWED_HOST", " "), ("ALLOWED_ORIGIN", ",,")]
    for name, value in wrong:
        done = forked_command("demo", **{f"AGENTWS_{name}": value})
        assert done.returncode == 2 and "secret" not in done.stderr


def test_help_names_every_option_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["run", "--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in SERVING:
        assert option.flag in shown and option.variable in shown


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("agentws ")


def test_an_asgi_app_is_told_from_an_agent_factory() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    class App:
        async def __call__(self, scope: object, receive: object, send: object) -> None: ...

    async def agent(ctx: object) -> None: ...

    assert is_asgi_app(app) and is_asgi_app(App())
    assert not any(map(is_asgi_app, (agent, App, 1, {}, int)))

"""The test servers of ``tests/processes.py`` leave no process behind."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.processes import Server, is_running, wait_until

LISTENS = """
import signal, socket, subprocess, sys, time
if sys.argv[2:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("child", child.pid, "running on http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
time.sleep(600)
"""


def a_server(folder: Path, *options: str) -> Server:
    (folder / "listens.py").write_text(LISTENS)
    return Server(
        "listens.py", "{port}", *options, folder=folder, output_file=folder / "output.txt"
    )


def wait_for_end(server: Server) -> None:
    """Waits until the process and its child have ended; only its parent can wait for the child."""
    child = int(re.findall(r"child (\d+)", server.output)[-1])
    both = (server.process.pid, child)
    wait_until(lambda: not any(map(is_running, both)))


def test_a_test_server_keeps_its_port_when_restarted(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        port = server.port
        assert port > 0
        server.kill()
        server.start()
        assert server.port == port


def test_a_failing_test_leaves_no_server_process(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), a_server(tmp_path) as server:
        raise ZeroDivisionError
    wait_for_end(server)


def test_a_suspended_server_can_be_stopped(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        server.process.send_signal(signal.SIGSTOP)
        assert server.stop() == -signal.SIGTERM
        wait_for_end(server)


def test_a_server_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_server(tmp_path, "stubborn") as server:
        monkeypatch.setattr(Server, "patience", 0.2)
        with pytest.raises(AssertionError, match="does not end"):
            server.stop()
        monkeypatch.undo()
        wait_for_end(server)


def test_a_server_that_never_listens_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "patience", 1.0)
    server = Server(
        "-c", "import time; time.sleep(600)", folder=tmp_path, output_file=tmp_path / "output.txt"
    )
    with pytest.raises(AssertionError, match="not ready"):
        server.start()
    assert not is_running(server.process.pid)


def test_the_output_of_a_server_that_exits_at_once_is_in_the_error(tmp_path: Path) -> None:
    server = Server(
        "-c", "raise SystemExit('no luck')", folder=tmp_path, output_file=tmp_path / "output.txt"
    )
    with pytest.raises(AssertionError, match="no luck"):
        server.start()

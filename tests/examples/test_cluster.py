"""The cluster of the examples: one command, a node that is killed, and what its pages need."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]

from agentws.client import RunFailed, connect
from agentws.events import TextMessageContent
from tests.servers.redis import REDIS, program

from .serving import EXAMPLES, Service, environment

FOLDER = EXAMPLES / "cluster"


class ClusterService(Service):
    def answers(self) -> bool:
        return "stop " in self.output

    def pid(self, node: str) -> int:
        """The process of the node as it was last started."""
        return int(re.findall(rf"^node {node} .* process (\d+)", self.output, re.M)[-1])


def cluster(tmp_path: Path, *options: str) -> ClusterService:
    output = tmp_path / "output.txt"
    command = ("cluster.py", "--port", "{port}", "--data", str(tmp_path / "data"), *options)
    # The Redis of the tests may not be on PATH.
    path = os.pathsep.join((os.path.dirname(program(REDIS)), os.environ["PATH"]))
    return ClusterService(*command, folder=FOLDER, output_file=output, env=environment(PATH=path))


@pytest.mark.parametrize("store", ["a Redis of its own", "SQLite"])
async def test_a_chat_goes_on_when_the_node_that_answers_is_killed(
    store: str, tmp_path: Path
) -> None:
    given = ["--store", f"sqlite:{tmp_path / 'chat.sqlite3'}"] if store == "SQLite" else []
    with cluster(tmp_path, *given) as service:
        async with connect(service.chat) as chat:
            turn = chat.send("count to 200")
            said = await first_text(turn)
            node = said.removeprefix("Node ")[0]
            os.kill(service.pid(node), signal.SIGKILL)
            with pytest.raises(RunFailed) as failed:
                await turn.text()
            assert failed.value.server_code == "interrupted"
            assert failed.value.text.startswith(f"Node {node} counts: 1")
            assert (await chat.ask("count to 3")).endswith(" counts: 1 2 3")
        async with httpx2.AsyncClient(base_url=service.http) as http:
            assert "<title>" in (await http.get("/")).text
        assert service.stop() == 0


async def first_text(turn: Any) -> str:
    said = ""
    async for event in turn:
        if isinstance(event, TextMessageContent):
            said += event.delta
        if " 1 " in said:
            return said
    raise AssertionError("the answer ended")


def test_it_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "cluster.py"],
        cwd=FOLDER,
        env={**environment(), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1 and "apt-get install" in done.stderr


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def test_the_pods_have_probes_and_time_to_drain() -> None:
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents("kubernetes.yaml")}
    pod = found["Deployment", "chat"]["spec"]["template"]["spec"]
    (node,) = pod["containers"]
    assert node["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert node["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert (
        pod["terminationGracePeriodSeconds"]
        >= 45 + node["lifecycle"]["preStop"]["sleep"]["seconds"]
    )
    (ingress,) = found["Ingress", "chat"]["spec"]["rules"]
    (path,) = ingress["http"]["paths"]
    assert ("Service", path["backend"]["service"]["name"]) in found


def test_the_composed_nodes_are_those_of_the_proxy() -> None:
    (composed,) = documents("compose.yaml")
    services = composed["services"]
    names = {services["proxy"]["environment"][name] for name in ("NODE_A", "NODE_B")}
    assert names == {f"{name}:8000" for name in services if name.startswith("node-")}
    assert all(services[name]["stop_grace_period"] == "45s" for name in ("node-a", "node-b"))

"""The store in S3 keeps the contract, against a real server process on the loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from agentws.backends.s3 import PART, S3FileStore
from agentws.errors import NotFound, Unavailable
from agentws.files import FileStore, Usage
from agentws.testing.contract_files import (
    Cut,
    FileStoreContract,
    chunks,
    exists,
    new_file,
    new_session,
)
from tests.ports import free_port

BUCKET = "agentws-files"
KEYS = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks S3, in a process of its own."""
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_for(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


@pytest.fixture(scope="module")
def bucket(address: str) -> Any:
    """The server's own view of the bucket, through another client."""
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    return client


def store_at(address: str, **options: Any) -> S3FileStore:
    local = {"client_options": {"allow_http": True}, **KEYS, **options}
    return S3FileStore(BUCKET, prefix="/chat/", endpoint=address, **local)


@pytest.fixture
async def files(address: str, bucket: Any) -> AsyncIterator[FileStore]:
    store = store_at(address)
    await store.open()
    yield store
    await store.close()


def keys(bucket: Any) -> list[str]:
    listed = bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return sorted(one["Key"] for one in listed)


class TestS3FileStore(FileStoreContract):
    @pytest.fixture
    async def files(self, address: str, bucket: Any) -> AsyncIterator[FileStore]:
        store = store_at(address)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def peer(self, files: FileStore, address: str) -> FileStore:
        return store_at(address)


async def test_an_upload_that_fails_leaves_no_object_and_no_parts(
    files: FileStore, bucket: Any
) -> None:
    before = keys(bucket)
    with pytest.raises(Cut):
        await files.create(new_file(owner="ann"), chunks(bytes(2 * PART), bytes(10), then=Cut()))
    assert keys(bucket) == before
    assert bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


async def test_a_deleted_file_leaves_no_object(files: FileStore, bucket: Any) -> None:
    before = keys(bucket)
    info = await files.create(new_file(session=new_session()), chunks(b"data"))
    await files.attach([info.id], new_session())
    assert all(key.startswith("chat/") for key in keys(bucket))
    await files.delete(info.id)
    assert keys(bucket) == before


@pytest.mark.parametrize("steps", range(8))
async def test_a_node_that_dies_while_it_writes_or_deletes_leaves_what_a_sweep_removes(
    address: str, bucket: Any, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """It makes ``steps`` calls that change something, and no more."""
    before = keys(bucket)
    store, left = store_at(address), steps
    put, remove = S3FileStore._put, S3FileStore._remove

    async def spent(call: Any, *given: Any) -> None:
        nonlocal left
        if not left:
            raise Unavailable()
        left -= 1
        await call(*given)

    new = new_file(session=new_session(), age=500.0)
    with monkeypatch.context() as patch:
        patch.setattr(S3FileStore, "_put", lambda *given: spent(put, *given))
        patch.setattr(S3FileStore, "_remove", lambda *given: spent(remove, *given))
        try:
            await store.create(new, chunks(b"data"))
            await store.delete(new.id)
        except Unavailable:
            pass
    healthy = store_at(address)
    await healthy.sweep(created_before=new.created + 1)
    assert not await exists(healthy, new.id)
    assert await healthy.usage(new.holder) == Usage(0, 0)
    assert keys(bucket) == before


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    store = store_at("http://127.0.0.1:9", retry_config={"max_retries": 0})
    for call in (store.open(), store.info("file_a"), store.usage("identity:ann")):
        with pytest.raises(Unavailable) as caught:
            await call
        assert "127.0.0.1" not in str(caught.value)


async def test_a_missing_file_is_not_found(files: FileStore) -> None:
    with pytest.raises(NotFound):
        await files.info(new_file(owner="ann").id)

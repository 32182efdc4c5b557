"""The HTTP routes of files: upload, download, delete."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp

from ..attachments.library import Files
from ..auth import Action
from ..errors import BadRequest, Draining, Forbidden, NotFound, TooLarge, UnsupportedMedia
from ..files import FileInfo
from ..protocol import bodies as b
from ..sessions.registry import check_session_id
from .download import file_response
from .http import Call, Operation, caller_of, json_response
from .multipart import FORM, MAX_OTHER, files_in
from .service import SessionService
from .times import iso_time
from .uploading import Slots, body_of, check_headers, declared_length

CREATED: Final = 201


class FileRoutes:
    """Handles the requests about files. A foreign file and an unknown one look the same."""

    def __init__(self, service: SessionService, files: Files) -> None:
        self._service = service
        self._files = files
        self._slots = Slots(files.limits)

    def operations(self) -> list[Operation]:
        one = "/files/{id}"
        return [
            Operation(
                "POST",
                "/files",
                self.upload_form,
                "caller",
                "Uploads the files of a form",
                answer=b.FileList,
                status=CREATED,
                streams=True,
            ),
            Operation(
                "PUT",
                one,
                self.upload,
                "caller",
                "Uploads one file, whose name is the last part of the path",
                answer=b.FileView,
                status=CREATED,
                streams=True,
            ),
            Operation("GET", one, self.download, "caller", "The content of a file"),
            Operation("DELETE", one, self.delete, "caller", "Deletes a file", status=204),
        ]

    # Uploads

    async def upload(self, call: Call) -> ASGIApp:
        """The whole body is the file."""
        request, files = call.request, self._files
        check_headers(request)
        with self._slots.take(caller_of(call)):
            session = await self._session_for(call)
            async with aclosing(body_of(request, within=files.limits.upload_timeout)) as body:
                info = await files.upload(
                    body,
                    name=request.path_params["id"],
                    declared=request.headers.get("content-type"),
                    length=declared_length(request),
                    owner=call.owner,
                    session=session,
                )
        return json_response(view(info), status=CREATED)

    async def upload_form(self, call: Call) -> ASGIApp:
        """Every file of the form, or none of them."""
        self._check_form(call)
        with self._slots.take(caller_of(call)):
            session = await self._session_for(call)
            done: list[FileInfo] = []
            try:
                await self._store_form(call, session, done)
            except BaseException:
                for info in done:
                    await self._files.store.delete(info.id)
                raise
        return json_response(b.FileList([view(info) for info in done]), status=CREATED)

    async def _store_form(self, call: Call, session: str | None, done: list[FileInfo]) -> None:
        request, limits = call.request, self._files.limits
        kind = request.headers.get("content-type", "")
        async with (
            aclosing(body_of(request, within=limits.upload_timeout)) as body,
            aclosing(files_in(body, kind)) as parts,
        ):
            async for part in parts:
                if len(done) == limits.max_files_per_message:
                    raise BadRequest(
                        "This form has too many files.",
                        expected=f"at most {limits.max_files_per_message}",
                    )
                async with aclosing(part.chunks()) as chunks:
                    info = await self._files.upload(
                        chunks,
                        name=part.name,
                        declared=part.type,
                        owner=call.owner,
                        session=session,
                    )
                done.append(info)
        if not done:
            raise BadRequest("This form has no file.", expected="a part with a filename")

    def _check_form(self, call: Call) -> None:
        """Refuses what can be refused before the body is read."""
        request, limits = call.request, self._files.limits
        check_headers(request)
        if not request.headers.get("content-type", "").lower().startswith(FORM):
            raise UnsupportedMedia(expected=f"Content-Type: {FORM}, or PUT for one raw file")
        most = limits.max_files_per_message * limits.max_file_size + MAX_OTHER
        if (declared_length(request) or 0) > most:
            raise TooLarge("These files are too large.", expected=f"at most {most} bytes together")

    async def _session_for(self, call: Call) -> str | None:
        """The session that an upload is for. Raises BadRequest without one and without identity."""
        if self._service.draining:
            raise Draining(retry_after=1.0)
        id = call.request.query_params.get("session")
        if id is None:
            if call.identity is None:
                raise BadRequest(
                    "A file without an owner belongs to a session.",
                    expected="?session= with the id of your session",
                )
            return None
        check_session_id(id)
        session, _ = await self._service.enter(id, identity=call.identity, agent=None)
        await self._service.check_write(session, call.identity)
        return id

    # One file

    async def download(self, call: Call) -> ASGIApp:
        info = await self._find(call, "read")
        return file_response(call.request, info, self._files.store)

    async def delete(self, call: Call) -> ASGIApp:
        info = await self._find(call, "write")
        await self._files.store.delete(info.id)
        return Response(status_code=204)

    async def _find(self, call: Call, action: Action) -> FileInfo:
        """The file, for its owner, or for who may do ``action`` in a session that has it.

        Raises NotFound, in the same words for a foreign and for an unknown file.
        """
        id, session = call.request.path_params["id"], call.request.query_params.get("session")
        try:
            info = await self._files.info(id)
            if info.owner is not None and info.owner == call.owner:
                return info
            if session is None:
                raise NotFound()
            check_session_id(session)
            info = await self._files.in_session(id, session)
            await self._service.open(session, identity=call.identity, action=action)
        except (NotFound, Forbidden, BadRequest) as error:
            raise NotFound(
                "There is no such file.",
                expected="the id of a file of yours, or ?session= with a session that has it",
            ) from error
        return info


def view(info: FileInfo) -> b.FileView:
    return b.FileView(
        id=info.id,
        name=info.name,
        type=info.type,
        size=info.size,
        sha256=info.sha256,
        created_at=iso_time(round(info.created * 1000)),
    )

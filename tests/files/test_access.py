"""Whose files may be read, deleted and added over HTTP."""

from __future__ import annotations

import pytest

from .calling import ANN, BOB, OTHER, SESSION, held, put, refused, served


async def test_a_file_of_an_identity_is_for_nobody_else() -> None:
    async with served(known=True) as (_, http):
        file = await put(http, session=None, headers=ANN)
        path = f"/files/{file['id']}"
        assert (await http.get(path, headers=ANN)).content == b"Hello"
        missing = await http.get("/files/file_aaaaaaaaaaaaaaaaaaaaaaaa", headers=BOB)
        for method in ("GET", "DELETE"):
            foreign = await http.request(method, path, headers=BOB)
            assert foreign.json() == missing.json()
            refused(foreign, 404, "not_found")
            refused(await http.request(method, path), 401, "unauthenticated")
        refused(await http.put("/files/x", content=b"x"), 401, "unauthenticated")


async def test_a_file_without_an_owner_is_for_who_knows_its_session() -> None:
    async with served() as (_, http):
        file = await put(http)
        await put(http, session=OTHER)
        path = f"/files/{file['id']}"
        for session in (None, OTHER, "ses_unknown0123456789", "short"):
            query = {} if session is None else {"session": session}
            refused(await http.get(path, params=query), 404, "not_found")
            refused(await http.delete(path, params=query), 404, "not_found")
        assert (await http.get(path, params={"session": SESSION})).status_code == 200
        assert (await http.delete(path, params={"session": SESSION})).status_code == 204
        refused(await http.get(path, params={"session": SESSION}), 404, "not_found")


async def test_a_foreign_session_takes_no_file() -> None:
    async with served(known=True) as (gateway, http):
        await put(http, session=SESSION, headers=ANN)
        done = await http.put("/files/x", content=b"x", params={"session": SESSION}, headers=BOB)
        refused(done, 403, "forbidden")
        assert held(gateway) == 1


@pytest.mark.parametrize(
    "id", ["x", "file_", "file_..", "file_a.b", "file_" + "x" * 200, "fil%65_x"]
)
async def test_a_text_that_is_no_id_is_not_found(id: str) -> None:
    async with served(known=True) as (_, http):
        refused(await http.get(f"/files/{id}", headers=ANN), 404, "not_found")


async def test_a_page_of_another_site_can_not_send_a_form() -> None:
    options = {"allowed_origins": ["*"]}
    async with served(options=options) as (gateway, http):
        origin = {"origin": "https://evil.example"}
        sent = {"f": ("a", b"x")}
        done = await http.post("/files", files=sent, params={"session": SESSION}, headers=origin)
        refused(done, 403, "forbidden")
        assert held(gateway) == 0
    async with served() as (_, http):
        own = {"origin": "http://testserver"}
        done = await http.post("/files", files=sent, params={"session": SESSION}, headers=own)
        assert done.status_code == 201

"""The path prefix of the routes, also with parameters: one gateway for many tenants."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from agentws import Identity, mount_agent_gateway
from agentws.testing.connect import connect, running
from agentws.transports.prefix import OWN, PARAMETER, check_prefix
from agentws.transports.routes import operations

from .calling import SESSION, Echo, Stream, client, say
from .test_hosts import foreign


def of_tenant(connection: HTTPConnection) -> Identity | None:
    """Each tenant has one user, who presents the tenant's name."""
    tenant = connection.path_params["tenant"]
    if connection.headers.get("x-user") != tenant:
        return None
    return Identity(f"{tenant}/user", {"tenant": tenant})


@pytest.mark.parametrize("host", ["starlette", "foreign", "mounted"])
@pytest.mark.parametrize("prefix", ["/t/{tenant}/chat", "/t/{tenant}", "/{tenant:str}"])
async def test_one_gateway_serves_many_tenants(host: str, prefix: str) -> None:
    inner = foreign if host == "foreign" else Starlette()
    gateway = mount_agent_gateway(inner, Echo, prefix=prefix, authenticate=of_tenant)
    app: Any = gateway if host != "mounted" else Starlette(routes=[Mount("/sub", gateway)])
    above = "/sub" if host == "mounted" else ""
    async with running(gateway):
        for tenant in ("acme", "globex"):
            at = above + prefix.replace("{tenant}", tenant).replace("{tenant:str}", tenant)
            session = f"ses_of_{tenant}_0123456789"
            async with client(app, **{"x-user": tenant}) as http:
                http.base_url = http.base_url.join(f"{at}/")
                assert (await say(http, "hello", session=session)).status_code == 202
                (owned,) = (await http.get("/sessions")).json()["sessions"]
                assert owned["id"] == session
                assert (await gateway.store.info(session)).owner == f"{tenant}/user"
            async with connect(app, f"{at}/ws/chat", headers={"x-user": tenant}) as one:
                assert (await one.until("welcome"))["identity"] == f"{tenant}/user"
            async with client(app, **{"x-user": "nobody"}) as http:
                assert (await http.get(f"{at}/sessions")).status_code == 401
            async with Stream(app, f"{at}/sessions/{session}/events", x_user=tenant) as stream:
                await stream.until("MESSAGES_SNAPSHOT")


async def test_a_tenant_can_not_use_another_tenants_session() -> None:
    """Session ids are shared by all tenants; the identity decides who owns the session."""
    app = mount_agent_gateway(Starlette(), Echo, prefix="/t/{tenant}", authenticate=of_tenant)
    async with running(app), client(app) as http:
        for tenant, status in (("acme", 202), ("globex", 403)):
            body = {"id": "m1", "content": "hello"}
            url = f"/t/{tenant}/sessions/{SESSION}/messages"
            response = await http.post(url, json=body, headers={"x-user": tenant})
            assert response.status_code == status


@pytest.mark.parametrize(
    "prefix", ["/t/{tenant}", "/t/{tenant}/chat", "/{tenant}", "/a b/{tenant}"]
)
@pytest.mark.parametrize(
    "tenant", ["acme", "a%20b", "b%C3%BCcher", "a:b", "a%3Ab", "a%2525", "%7Bx%7D"]
)
async def test_the_prefix_without_a_slash_redirects_to_the_same_tenants_page(
    prefix: str, tenant: str
) -> None:
    app = mount_agent_gateway(Starlette(), Echo, prefix=prefix)
    path = prefix.replace("{tenant}", tenant).replace(" ", "%20")
    async with client(app) as http:
        response = await http.get(f"{path}?session={SESSION}")
        assert response.status_code == 307 and "{" not in response.headers["location"]
        url = response.url.join(response.headers["location"])
        assert url.host == "testserver" and url.query == f"session={SESSION}".encode()
        # Compared after normalization: some characters have two encodings.
        assert url.path == response.url.path + "/"
        assert "<title>" in (await http.get(url)).text
        assert (await http.get(url.join("web/page.js"))).status_code == 200
        sent_on = await http.get(url.join("client.js"), follow_redirects=True)
        assert sent_on.status_code == 200 and sent_on.url == url.join("web/client.js")


async def test_a_prefix_parameter_matches_only_what_its_convertor_accepts() -> None:
    app = mount_agent_gateway(Starlette(), Echo, prefix="/t/{tenant:int}")
    async with client(app) as http:
        assert (await http.get("/t/42/health")).status_code == 200
        assert (await http.get("/t/acme/health")).status_code == 404


@pytest.mark.parametrize(
    "prefix", ["", "/a", "/a/b.c", "/a b", "/bücher", "/{a}", "/x{a}y/{b:int}"]
)
def test_a_valid_prefix_is_accepted(prefix: str) -> None:
    check_prefix(prefix)


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "/",
            "a",
            "a/",
            "/a/",
            "//a",
            "/a//b",
            "/./a",
            "/a/..",
            "/a?b",
            "/a#b",
            "/a%20b",
            "/a\\b",
            "/\ud800",
        ),
        *("/a\n", "/{", "/a}", "/{}", "/{1}", "/{a b}", "/{a:}", "/{{a}}", "http://host/a"),
        *("/{a:path}", "/{a:nothing}", "/{id}", "/{path}", "/{a}/{a}"),
    ],
)
def test_an_invalid_prefix_raises_value_error_at_the_mount(prefix: str) -> None:
    app = Starlette()
    with pytest.raises(ValueError, match="is not a prefix; expected"):
        mount_agent_gateway(app, Echo, prefix=prefix)
    assert app.routes == []
    with pytest.raises(TypeError, match="expected a string"):
        check_prefix(None)  # type: ignore[arg-type]


def test_the_gateways_own_parameters_are_reserved() -> None:
    gateway = mount_agent_gateway(Starlette(), Echo)
    asked = operations(gateway, prefix="/x", page=True)
    assert {name for one in asked for name, _ in PARAMETER.findall(one.path)} == OWN

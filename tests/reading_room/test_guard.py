"""The guard: who may ask, from where, and with how much."""

import socket
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from fastapi.testclient import TestClient

from focusmap.basics import InputError
from focusmap.cli import main
from focusmap.reading_room.guard import Guard, check_address, listening
from focusmap.verbs.requests import ServeRequest

TOKEN = "a-token-of-many-signs"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def client(address: str = "http://127.0.0.1:8000", **settings: Any) -> TestClient:
    return TestClient(Guard(echo, ServeRequest(**settings)), base_url=address, follow_redirects=False)


def test_others_are_refused_an_address_without_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    check_address(ServeRequest())
    check_address(ServeRequest(host="0.0.0.0", token=TOKEN))
    with pytest.raises(InputError, match="--token"):
        check_address(ServeRequest(host="0.0.0.0"))
    with pytest.raises(InputError, match="at least 12"):
        check_address(ServeRequest(host="0.0.0.0", token="short"))
    assert main(["serve", "nosuch", "--host", "0.0.0.0"]) == 2
    assert "others can reach this address" in capsys.readouterr().err


def test_this_machines_address_is_answered_by_its_names_alone() -> None:
    assert client().get("/").status_code == 200
    assert client("http://localhost:8000").get("/").status_code == 200
    assert client("http://evil.example:8000").get("/").status_code == 421


def test_another_sites_page_cannot_send_anything() -> None:
    ours = client()
    assert ours.post("/", content=b"x", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    assert ours.post("/", content=b"x", headers={"origin": "http://evil.example"}).status_code == 403
    assert ours.delete("/", headers={"origin": "null"}).status_code == 403


def test_a_token_is_asked_for_and_becomes_a_cookie_that_does_not_hold_it() -> None:
    ours = client("http://ward.example:8000", host="0.0.0.0", token=TOKEN)
    assert ours.get("/").status_code == 401
    assert ours.get("/?token=wrong").status_code == 401
    assert ours.get("/api/items", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert ours.get("/api/items", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert ours.get("/health").status_code == 200
    found = ours.get(f"/?token={TOKEN}")
    assert (found.status_code, found.headers["location"]) == (303, "/")
    assert "HttpOnly" in found.headers["set-cookie"]
    assert TOKEN not in found.headers["set-cookie"]
    assert ours.get("/").status_code == 200


def test_no_more_is_taken_than_may_be_sent_whatever_its_header_claims() -> None:
    ours = client(largest=1)
    assert ours.post("/", content=bytes(2**20)).text == str(2**20)
    assert ours.post("/", content=bytes(2**20 + 1)).status_code == 413
    parts = (bytes(2**18) for _ in range(5))
    assert ours.post("/", content=parts).status_code == 413


def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    for found in (client().get("/"), client("http://evil.example").get("/")):
        assert "default-src 'none'" in found.headers["content-security-policy"]
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cache-control"] == "no-store"


def test_limits_that_allow_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="keep"):
        ServeRequest(keep=0)


def test_an_address_that_cannot_be_had_is_refused_by_its_name() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match=r"is taken by another.*--port"),
    ):
        listening(ServeRequest(port=taken.getsockname()[1]))
    for request in (ServeRequest(port=70_000), ServeRequest(host="no.such.name.invalid")):
        with pytest.raises(InputError, match="is no address of this machine"):
            listening(request)
    with listening(ServeRequest(port=0)) as door:
        assert door.getsockname()[0] == "127.0.0.1"

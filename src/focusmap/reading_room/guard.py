"""Who may ask, how much may be sent, and what a browser may do with the answer: one wrapper around the whole site."""

import asyncio
import errno
import hashlib
import hmac
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from focusmap.basics import InputError
from focusmap.reading_room.intake import MIB
from focusmap.verbs.requests import ServeRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 12
BODY_SECONDS = 60
TOKEN, VISITOR = "focusmap_token", "focusmap_visitor"
OPEN = ("/health",)
TOO_LATE = 408, "the rest of the request did not come."
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def check_address(request: ServeRequest) -> None:
    """Raise `InputError` where others could reach the page without a token, or the token is easily guessed."""
    if request.token and len(request.token) < SHORTEST_TOKEN:
        raise InputError(f"the token has {len(request.token)} signs; at least {SHORTEST_TOKEN} were expected.")
    if request.host not in LOOPBACK and not request.token:
        raise InputError(
            f"--host {request.host}: others can reach this address. Add --token TEXT (or the variable FOCUSMAP_TOKEN), "
            f"such as --token {secrets.token_urlsafe(18)}"
        )


def listening(request: ServeRequest) -> socket.socket:
    """Return what listens at the address of a request; `InputError` where it is taken, is none, or is not for users."""
    address = f"{request.host}:{request.port}"
    remedies = {
        errno.EADDRINUSE: f"{address} is taken by another program. Choose another --port.",
        errno.EACCES: f"{address} is for the administrator alone. Choose a --port above 1023.",
    }
    try:
        family = socket.AF_INET6 if ":" in request.host else socket.AF_INET
        return socket.create_server((request.host, request.port), family=family)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        raise InputError(remedies.get(number or 0, f"{address} is no address of this machine ({error}).")) from None


class _TooLargeError(Exception):
    """More came than may be sent."""


class Guard:
    """An application behind its guard.

    On this machine's own address it answers only those who call it by such a name, since any page of a browser can
    have its own name lead here. With a token it answers those who know it: as ``Authorization: Bearer``, or by a cookie
    that ``/?token=`` sets. Other sites' pages cannot send anything.
    """

    def __init__(self, app: App, request: ServeRequest) -> None:
        self._app, self._request = app, request
        self._too_large = 413, f"more than {request.largest} MiB were sent at once."
        key = hashlib.sha256(f"cookie {request.token}".encode()).hexdigest()
        self._cookie = hmac.new(key.encode(), b"focusmap", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        cookies = _cookies(headers.get("cookie", ""))
        refusal = self._refusal(scope, headers, cookies)
        if refusal is not None:
            await _plain(send, *refusal)
            return
        visitor = cookies.get(VISITOR) or secrets.token_urlsafe(24)
        scope.setdefault("state", {})["visitor"] = visitor
        new_cookies = [] if VISITOR in cookies else [_set_cookie(VISITOR, visitor)]
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*_with_usual(message["headers"]), *new_cookies]}
            await send(message)

        try:
            await self._app(scope, self._bounded(receive), sending)
        except (_TooLargeError, TimeoutError) as error:
            if not started:
                await _plain(send, *(self._too_large if isinstance(error, _TooLargeError) else TOO_LATE))

    def _refusal(self, scope: Scope, headers: dict[str, str], cookies: dict[str, str]) -> tuple[Any, ...] | None:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if self._request.host in LOOPBACK and host not in LOOPBACK:
            return 421, "this address is answered on its own machine only."
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != headers.get("host"):
            return 403, "another site's page may not send anything here."
        if int(headers.get("content-length") or 0) > self._request.largest * MIB:
            return self._too_large
        if not self._request.token or scope["path"] in OPEN:
            return None
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and token and self._is_token(token):
            return 303, "", [(b"location", b"/"), _set_cookie(TOKEN, self._cookie)]
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(bearer) or hmac.compare_digest(cookies.get(TOKEN, "").encode(), self._cookie.encode()):
            return None
        return 401, "a token is asked for: open /?token=TOKEN, or send Authorization: Bearer TOKEN."

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._request.token.encode())

    def _bounded(self, receive: Receive) -> Receive:
        """Return what gives the body of a request as far as it may be sent, and waits for it no longer than a while."""
        left = self._request.largest * MIB

        async def bounded() -> Message:
            nonlocal left
            message = await asyncio.wait_for(receive(), None if left <= 0 else BODY_SECONDS * 10)
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLargeError
            return message

        return bounded


def _with_usual(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those of `HEADERS` that it lacks, and without the server's name."""
    own = [(name, value) for name, value in headers if name != b"server"]
    named = {name.decode("latin-1").lower() for name, _ in own}
    return [*own, *((name.encode(), value.encode()) for name, value in HEADERS.items() if name not in named)]


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _set_cookie(name: str, value: str) -> tuple[bytes, bytes]:
    return b"set-cookie", f"{name}={value}; Path=/; HttpOnly; SameSite=Strict".encode()


async def _plain(send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    start = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    start += [(b"content-type", b"text/plain; charset=utf-8"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": text.encode()})

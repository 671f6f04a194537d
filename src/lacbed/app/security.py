"""Who may speak to the server, and what the browser may do with its pages.

Another site that is open in the same browser could send requests to localhost, or point its own name at it (DNS
rebinding). So a request must name this server as its host, must not come from another origin, and one that
starts work must carry a header that browsers add for no other site without asking.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GUARD = "x-lacbed"
"""The header that every request to start work carries."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware that refuses foreign requests and adds the headers above to every answer.

    Args:
        app: what it guards.
        names: host names that are accepted beside localhost and plain IP addresses (a rebound name is
            never an address).
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = self._problem(Headers(scope=scope), scope["method"])
        if problem:
            await JSONResponse({"error": problem}, 403)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _problem(self, headers: Headers, method: str) -> str:
        """Why a request is refused; "" if it is not."""
        host = headers.get("host", "")
        if not self._is_own(host):
            return "this server answers only to its own address; start it with --allow-host NAME to add a name"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "requests from other sites are refused"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "requests from other sites are refused"
        if method not in ("GET", "HEAD") and headers.get(GUARD) != "1":
            return f"a request must carry the header {GUARD}: 1"
        return ""

    def _is_own(self, host: str) -> bool:
        name = host_name(host)
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")

"""lacbed app: the page."""

from __future__ import annotations

import ipaddress
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from lacbed.errors import MissingExtraError, SettingError
from lacbed.io.checks import check_number

if TYPE_CHECKING:
    import asyncio

    from lacbed.app.limits import Limits

HEADER_SECONDS = 5.0
"""Longest time from the opening of a connection to the end of the first request's header."""


def command(
    port: Annotated[int, typer.Option("--port", "-p", help="Port; 0 for any free one.")] = 8765,
    host: Annotated[
        str, typer.Option("--host", help="Address to serve on; 0.0.0.0 opens it to the whole network.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="Another host name of this machine.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Number of parallel computations.")] = 2,
    memory: Annotated[
        float | None, typer.Option("--memory", metavar="GIB", help="Memory limit of one computation.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="S", help="Time limit of one computation in seconds.")
    ] = 600.0,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in a browser.")] = False,
) -> None:
    """Serve an interactive page of crystals and patterns, on this machine only.

    Example: lacbed app --browser
    """
    limits = _limits(workers, memory, time_limit)
    try:
        import uvicorn

        from lacbed.app.server import create_app
    except ImportError as error:
        raise MissingExtraError(
            f"the page needs the extra 'app' ({error.name} is missing): pip install 'lacbed[app]'"
        ) from None
    listener = _listen(host, port)
    url = _url(host, listener.getsockname()[1])
    sys.stdout.write(f"lacbed app: {url}   (Ctrl-C stops it)\n")
    if not _is_local(host):
        sys.stdout.write("  anyone who can reach this machine over the network can use it; there is no password\n")
    sys.stdout.flush()
    if browser:
        import webbrowser

        webbrowser.open(url)
    app = create_app(limits, allow_host or ())
    config = uvicorn.Config(
        app,
        http=_prompt_protocol(),
        log_level="warning",
        server_header=False,
        limit_concurrency=200,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _prompt_protocol() -> type[asyncio.Protocol]:
    """HTTP/1.1 that closes a connection on which no whole request has begun within some seconds."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Prompt(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(HEADER_SECONDS, self._give_up)

        def _give_up(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Prompt


def _limits(workers: int, memory: float | None, time_limit: float) -> Limits:
    from lacbed.app.limits import Limits, fair_share
    from lacbed.io.sizes import free_memory

    check_number("--workers", workers, 1, 64)
    check_number("--time-limit", time_limit, 1, 86_400, unit="s")
    if memory is not None:
        check_number("--memory", memory, 0.25, 4096, unit="GiB")
    share = fair_share(workers, free_memory()) if memory is None else int(memory * 2**30)
    return Limits(workers=workers, job_bytes=share, job_seconds=time_limit)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a port that is taken is known before anything starts.

    Raises:
        SettingError: if the address cannot be used.
    """
    check_number("--port", port, 0, 65_535)
    with ExitStack() as undo:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listener = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            raise SettingError(
                f"cannot serve on {host} port {port}: {error.strerror or error}; choose another with --port"
            ) from None
        undo.pop_all()
        return listener


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(host: str, port: int) -> str:
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

"""The routes: pages, facts about a crystal, streams of pictures, files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lacbed.app.files import Result, Results, parse_files
from lacbed.app.frame_files import parse_frames
from lacbed.app.incoming import read_json, read_one
from lacbed.app.limits import Header, Limits, pack
from lacbed.app.pool import BusyError, Pool, converse
from lacbed.app.request import View, fit_recipe, parse_view, recipe
from lacbed.app.security import Guard
from lacbed.app.taking import routes_of
from lacbed.errors import LacbedError, SettingError
from lacbed.io.checks import check_number

KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}
STATIC = (
    "act.js",
    "address.js",
    "app.css",
    "app.js",
    "cbed.js",
    "chart.js",
    "compare.js",
    "colormaps.js",
    "controls.js",
    "crystals.js",
    "discs.js",
    "facts.js",
    "figure.js",
    "files.js",
    "frames.js",
    "fit.js",
    "history.js",
    "icon.svg",
    "jobs.js",
    "names.js",
    "picture.js",
    "probe.js",
    "profile.js",
    "reading.js",
    "series.js",
    "session.js",
    "solid.js",
    "solution.js",
    "solve.js",
    "state.js",
    "stream.js",
    "structure.js",
    "tabstore.js",
    "tilt.js",
    "under.js",
    "vectors.js",
    "view.js",
    "zoom.js",
)
"""The files of the page; nothing else is ever read from the disk on request."""

THICKNESS = "@thickness"
"""Stands for the thickness in commands; the page, which moves along the series by itself, replaces it."""

HKL = "@hkl"
"""The same for the reflection."""

BENCH = ("fit", "refine", "solve", "extract")
SEARCHING = 0.6
"""Part of the longest computation that a search may take; the rest is for what follows from it."""
STREAMS = ("preview", "simulate", "series", "montage", "tilt")


def create_app(limits: Limits | None = None, names: Iterable[str] = ()) -> Starlette:
    """The ASGI application.

    Args:
        limits: bounds on the work.
        names: host names that are accepted beside localhost and IP addresses.
    """
    limits = limits or Limits()
    pool, results = Pool(limits), Results(limits.kept_bytes, limits.kept_seconds)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        pool.open()
        try:
            yield
        finally:
            await pool.close()

    async def about(_: Request) -> Response:
        bounds = {"search_seconds": SEARCHING * limits.job_seconds, "upload_bytes": limits.upload_bytes}
        return JSONResponse({**_about(), **await pool.ready(), **bounds})

    async def describe(request: Request) -> Response:
        view = parse_view(await read_json(request, limits))
        message = {"task": "describe", "view": view.to_json()}
        try:
            async with pool.worker(quick=True, key=view.zone_key) as worker, asyncio.timeout(limits.quick_seconds):
                parts = [pack(*message) async for message in converse(worker, message)]
        except TimeoutError:  # a large cell, which must not keep others waiting
            async with asyncio.timeout(limits.job_seconds), pool.worker() as worker:
                parts = [pack(*message) async for message in converse(worker, message)]
        return Response(b"".join(parts), media_type="application/octet-stream")

    async def stream(request: Request) -> Response:
        task = request.path_params["task"]
        if task not in STREAMS:
            raise SettingError(f"there is no task {task!r:.20}")
        view = parse_view(await read_json(request, limits))
        if pool.is_full:
            raise BusyError("too many computations are waiting on this machine; try again in a minute")
        parts = _stream(task, view, pool, results)
        return StreamingResponse(parts, media_type="application/octet-stream")

    async def bench(request: Request) -> Response:
        task = request.path_params["task"]
        if task not in BENCH:
            raise SettingError(f"there is no task {task!r:.20}")
        header, payload = await read_one(request, limits, limits.upload_bytes * (2 if task == "extract" else 1))
        _check_files(task, header.get("files"), payload, limits)
        view = parse_view(header.get("view"))
        more: Header = {"files": header["files"]}
        if task == "refine":
            more["around"] = check_number("the thickness to begin from", header.get("around"), 1, 20_000, unit="Å")
        if task == "solve":
            more |= {"solve": header.get("solve"), "longest": SEARCHING * limits.job_seconds}
        if task == "extract":
            more["extract"] = header.get("extract")
        if pool.is_full:
            raise BusyError("too many computations are waiting on this machine; try again in a minute")
        parts = _stream(task, view, pool, results, more, payload)
        return StreamingResponse(parts, media_type="application/octet-stream")

    routes = [
        Route("/", _page),
        Route("/static/{name}", _static),
        Route("/api/about", about),
        Route("/api/describe", describe, methods=["POST"]),
        Route("/api/stream/{task}", stream, methods=["POST"]),
        Route("/api/bench/{task}", bench, methods=["POST"]),
        *routes_of(limits, pool, results),
    ]
    handlers: Any = {LacbedError: _refuse, TimeoutError: _too_long, ClientDisconnect: _refuse}
    guard = Middleware(Guard, names=tuple(names))
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=[guard])


def _check_files(task: str, listed: Any, payload: bytes, limits: Limits) -> None:
    """Refuse what is no experiment, or for an extraction no series of frames, with a vacuum scan or without."""
    if task == "extract":
        parse_frames(listed, payload, limits.upload_bytes)
    else:
        parse_files(listed, payload)


async def _stream(
    task: str, view: View, pool: Pool, results: Results, more: Header | None = None, payload: bytes = b""
) -> AsyncIterator[bytes]:
    """Messages for the page about one picture; errors too are messages.

    When the page goes away or asks for something else it closes the connection, this generator is ended, and
    with it the worker.
    """
    limits, key = pool.limits, view.zone_key
    request = {"task": task, "view": view.to_json(), "budget": limits.job_bytes, **(more or {})}
    quick = task == "preview"
    yield pack({"kind": "progress", "phase": "waiting for a free processor", "fraction": None})
    try:
        if task in ("simulate", "tilt") and pool.is_busy:  # something to look at while others are served
            async for part in _glimpse(view, pool, results):
                yield part
        seconds = limits.quick_seconds if quick else limits.job_seconds
        async with pool.worker(quick=quick, key=key) as worker, asyncio.timeout(seconds):
            async for header, content in converse(worker, request, payload):
                yield _forward(header, content, view, results)
    except TimeoutError:
        yield pack({"kind": "error", "message": _too_long_text(limits, task)})
    except LacbedError as error:
        yield pack({"kind": "error", "message": str(error)})


async def _glimpse(view: View, pool: Pool, results: Results) -> AsyncIterator[bytes]:
    """The preview of a picture that has to wait for its turn; nothing if that takes long."""
    request = {"task": "preview", "view": view.to_json(), "budget": pool.limits.job_bytes}
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(pool.limits.quick_seconds),
            pool.worker(quick=True, key=view.zone_key) as worker,
        ):
            async for header, content in converse(worker, request):
                yield _forward(header, content, view, results)
    yield pack(
        {"kind": "progress", "phase": f"{pool.waiting + 1} in the queue for a free processor", "fraction": None}
    )


def _forward(header: Header, payload: bytes, view: View, results: Results) -> bytes:
    """A worker's message for the page; a result is kept, and float32 goes on."""
    if header["kind"] == "fit":
        header["recipe"] = fit_recipe(view)
    if header["kind"] != "result":
        return pack(header, payload)
    shown = header["view"]
    shown["result"] = results.put(Result(view, header["labels"], payload))
    shown["recipe"] = recipe(view, shown, THICKNESS, HKL)
    return pack(shown, np.frombuffer(payload, "<f8").astype("<f4").tobytes())


def _too_long_text(limits: Limits, task: str) -> str:
    if task == "preview":
        return "no preview: the cell is too large for a quick one; the full computation goes on when you let go"
    simpler = "fewer pixels, a smaller extent or no absorption"
    if task in BENCH:
        others = {"solve": "a shorter time", "extract": "fewer or binned frames"}
        simpler = others.get(task, "a shorter series or no absorption")
    return (
        f"stopped after {limits.job_seconds:g} s, the longest that a computation may take here; ask for "
        f"{simpler}, or start lacbed app with a longer --time-limit"
    )


async def _refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": " ".join(str(error).split())}, 503 if isinstance(error, BusyError) else 400)


async def _too_long(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "this took too long and was stopped"}, 503)


async def _page(_: Request) -> Response:
    return _content("index.html")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return JSONResponse({"error": "there is no such page"}, 404)
    return _content(name)


def _content(name: str) -> Response:
    """A file of the page."""
    content = files("lacbed.app").joinpath("static", name).read_bytes()
    return Response(content, media_type=KINDS[Path(name).suffix])


def _about() -> dict[str, Any]:
    """Version and built-in crystals."""
    from lacbed.crystals.named import named_rows
    from lacbed.patterns.result import software

    rows = [
        {"name": r.name, "formula": r.formula, "space_group": r.space_group, "aliases": list(r.aliases)}
        for r in named_rows()
    ]
    return {"software": software(), "crystals": rows}

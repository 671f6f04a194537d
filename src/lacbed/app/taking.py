"""What is taken along: files of results, figures, and sessions, which come back too."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lacbed.app.figure import parse_layout
from lacbed.app.files import MEDIA_TYPES, Results, parse_export, parse_files
from lacbed.app.incoming import read_body, read_json, read_one
from lacbed.app.kept import parse_kept, tell_kept
from lacbed.app.limits import Header, Limits, pack
from lacbed.app.pool import Pool, converse
from lacbed.app.request import file_stem, parse_view
from lacbed.app.session import check_look, read_session, write_session
from lacbed.errors import SettingError
from lacbed.io.checks import is_list, is_whole


def routes_of(limits: Limits, pool: Pool, results: Results) -> list[Route]:
    """The routes by which results leave the page, and sessions come back."""

    async def file(request: Request) -> Response:
        wanted = await read_json(request, limits)
        ending, thickness, hkl = parse_export(wanted)
        found = results.several(wanted.get("result"))
        message: Header = {"task": "file", "format": ending, "thickness": thickness, "hkl": hkl}
        message |= {"labels": [r.labels for r in found], "sizes": [len(r.payload) for r in found]}
        joined = b"".join(r.payload for r in found)
        async with asyncio.timeout(limits.job_seconds), pool.worker(quick=True) as worker:
            content = [payload async for _, payload in converse(worker, message, joined)]
        name = f'attachment; filename="{file_stem(found[0].view)}{ending}"'
        return Response(b"".join(content), media_type=MEDIA_TYPES[ending], headers={"content-disposition": name})

    async def figure(request: Request) -> Response:
        wanted = await read_json(request, limits)
        parse_layout(wanted)
        found = results.several(wanted.get("results"), mixed=True)
        message: Header = {"task": "figure", "layout": wanted, "labels": [r.labels for r in found]}
        message |= {"sizes": [len(r.payload) for r in found], "b_iso": found[0].view.b_iso}
        joined = b"".join(r.payload for r in found)
        async with asyncio.timeout(limits.job_seconds), pool.worker(quick=True) as worker:
            parts = [pack(*answer) async for answer in converse(worker, message, joined)]
        return Response(b"".join(parts), media_type="application/octet-stream")

    async def save_session(request: Request) -> Response:
        header, payload = await read_one(request, limits)
        view, look = parse_view(header.get("view")), check_look(header.get("look"))
        ends = _end(header.get("files"), payload)
        measured = parse_files(header["files"], payload[:ends]) if header.get("files") else {}
        search = parse_kept(header.get("search"), payload[ends:])
        extras = {
            f"commands.{ending}": text.encode() for ending, text in _commands(header.get("commands")).items()
        }
        if header.get("result") is not None:
            found = results.get(header["result"])
            ask: Header = {"task": "file", "format": ".nc", "thickness": None, "hkl": None}
            ask |= {"labels": [found.labels], "sizes": [len(found.payload)]}
            async with asyncio.timeout(limits.job_seconds), pool.worker(quick=True) as worker:
                extras["pattern.nc"] = b"".join([c async for _, c in converse(worker, ask, found.payload)])
        content = await asyncio.to_thread(write_session, view, look, measured, extras, search)
        name = f'attachment; filename="{file_stem(view)}.lacbed"'
        return Response(content, media_type="application/zip", headers={"content-disposition": name})

    async def open_session(request: Request) -> Response:
        content = await read_body(request, limits, limits.upload_bytes + 2 * limits.body_bytes)
        session = await asyncio.to_thread(read_session, content)
        header: Header = {"kind": "session", "view": session.view.to_json(), "look": session.look}
        header["files"] = [{"ending": ending, "size": len(data)} for ending, data in session.files.items()]
        header["search"], found = tell_kept(session.search)
        content = pack(header, b"".join([*session.files.values(), found]))
        return Response(content, media_type="application/octet-stream")

    return [
        Route("/api/file", file, methods=["POST"]),
        Route("/api/figure", figure, methods=["POST"]),
        Route("/api/session/save", save_session, methods=["POST"]),
        Route("/api/session/open", open_session, methods=["POST"]),
    ]


def _end(listed: Any, payload: bytes) -> int:
    """Where the measured files end and a search begins; the end of the payload if no sizes are listed."""
    if not is_list(listed or [], lambda entry: isinstance(entry, dict) and is_whole(entry.get("size"), 0)):
        return len(payload)
    return sum(int(entry["size"]) for entry in listed or [])


def _commands(value: Any) -> dict[str, str]:
    """The commands of a session: text for "py" and "sh".

    Raises:
        SettingError: if they are none.
    """
    found = value or {}
    if not isinstance(found, dict) or not all(k in ("py", "sh") and isinstance(v, str) for k, v in found.items()):
        raise SettingError("the commands of a session are text")
    return found

"""What comes in the body of a request: bytes in time and of bounded size, JSON, or a message with files."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from starlette.requests import Request

from lacbed.app.limits import Limits, unpack
from lacbed.errors import FileFormatError, SettingError


async def read_body(request: Request, limits: Limits, most: int) -> bytes:
    """The body of a request, if it arrives in time and is not too large.

    Raises:
        SettingError: if not.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            pieces = aiter(request.stream())
            while True:
                async with asyncio.timeout(limits.idle_seconds):
                    piece = await anext(pieces, None)
                if piece is None:
                    break
                body += piece
                if len(body) > most:
                    raise SettingError(f"the request is larger than {most / 1e6:g} MB")
    except TimeoutError:
        raise SettingError("the request took too long to arrive") from None
    return bytes(body)


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object in the body of a request.

    Raises:
        SettingError: if there is none.
    """
    body = await read_body(request, limits, limits.body_bytes)
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise SettingError("the request is not JSON") from None
    if not isinstance(data, dict):
        raise SettingError("the request must be a JSON object")
    return data


async def read_one(request: Request, limits: Limits, most: int | None = None) -> tuple[dict[str, Any], bytes]:
    """The one message in the body of a request, of at most so many bytes; default what an experiment may have.

    Raises:
        SettingError: if it is none.
    """
    body = await read_body(request, limits, most or limits.upload_bytes)
    try:
        ((header, payload),) = unpack(body)
    except (ValueError, RecursionError, struct.error, FileFormatError):
        raise SettingError("the files arrived incomplete; drop them again") from None
    if not isinstance(header, dict):
        raise SettingError("the request must be a JSON object")
    return header, payload

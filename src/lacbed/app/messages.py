"""Messages between page, server and workers: a JSON header and raw bytes, each with its length before it.

    length of header (4 bytes) | length of payload (4 bytes) | header (UTF-8 JSON) | payload

Lengths are little-endian. The same bytes go over the pipe of a worker and over HTTP.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

from lacbed.errors import FileFormatError

_LENGTHS = struct.Struct("<II")
LENGTHS_SIZE = _LENGTHS.size
MAX_HEADER = 64 * 2**20
MAX_PAYLOAD = 2**31

Header = dict[str, Any]


def pack(header: Header, payload: bytes = b"") -> bytes:
    """One message.

    Raises:
        ValueError: if the header holds NaN, which JSON lacks.
    """
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    return b"".join((_LENGTHS.pack(len(text), len(payload)), text, payload))


def unpack_lengths(lengths: bytes) -> tuple[int, int]:
    """Lengths of header and payload.

    Raises:
        FileFormatError: if they are impossible, so that the bytes are no message.
    """
    header, payload = _LENGTHS.unpack(lengths)
    if header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise FileFormatError("a message is damaged: its lengths are impossible")
    return header, payload


def unpack(data: bytes) -> list[tuple[Header, bytes]]:
    """All messages of some bytes.

    Raises:
        FileFormatError: if the bytes end in the middle of one.
    """
    messages, place = [], 0
    while place < len(data):
        header, payload = unpack_lengths(data[place : place + LENGTHS_SIZE])
        place += LENGTHS_SIZE
        if place + header + payload > len(data):
            raise FileFormatError("a message is cut short")
        text = data[place : place + header]
        messages.append((json.loads(text), data[place + header : place + header + payload]))
        place += header + payload
    return messages


def read_message(stream: BinaryIO) -> tuple[Header, bytes] | None:
    """The next message of a pipe; None at its end."""
    lengths = stream.read(LENGTHS_SIZE)
    if len(lengths) < LENGTHS_SIZE:
        return None
    header, payload = unpack_lengths(lengths)
    return json.loads(stream.read(header)), stream.read(payload)

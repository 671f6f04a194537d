"""One large file, fetched in as many attempts as it takes."""

from __future__ import annotations

import os
from pathlib import Path

from lacbed.catalog.fetch.web import PoliteSession, check, host_of
from lacbed.errors import FetchError, FileFormatError
from lacbed.patterns.atomic import reason

_BLOCK = 1 << 16


def download(session: PoliteSession, url: str, target: Path) -> Path:
    """Fetch a file to `target`, which appears when it is complete; an interrupted download goes on where it was.

    What has come is kept as `target` with the ending .part. A server that cannot send the rest sends the whole
    again.

    Raises:
        FetchError: if the server cannot be reached, refuses, or breaks off.
        FileFormatError: if the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    if target.exists():
        return target
    begin = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={begin}-"} if begin else {})}
    with session.get(url, headers=headers, stream=True) as response:
        complete = response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{begin}"
        if not complete:
            check(response, allowed=(200, 206))
            expected = response.headers.get("Content-Length")
            mode = "ab" if response.status_code == 206 else "wb"
            try:
                with part.open(mode) as stream:
                    came = 0
                    for block in response.iter_content(_BLOCK):
                        stream.write(block)
                        came += len(block)
                    stream.flush()
                    os.fsync(stream.fileno())
            except session.BROKEN as error:
                raise FetchError(f"{host_of(url)} broke off the download: {reason(error)}") from None
            except OSError as error:
                raise FileFormatError(f"cannot write {str(part)!r}: {reason(error)}") from None
            if expected is not None and came != int(expected):
                raise FetchError(f"{host_of(url)} broke off the download after {came} of {expected} bytes")
    os.replace(part, target)
    return target

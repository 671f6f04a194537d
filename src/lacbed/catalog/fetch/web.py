"""Polite HTTP: says who asks, pauses between requests, waits when told to, and fails in one sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from lacbed.errors import FetchError, MissingExtraError
from lacbed.io.atomic import reason

try:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import InvalidHeader
    from urllib3.util.retry import Retry
except ImportError:
    raise MissingExtraError(
        "fetching needs the packages requests and urllib3; install them with: pip install 'lacbed[fetch]'"
    ) from None

TIMEOUT = (10.0, 90.0)
"""Seconds to connect, and between two pieces of an answer."""

RETRIES, CONNECTION_RETRIES = 5, 2
"""Retries after an answer that asks to wait or reports a fault, and after a failed connection."""

BACKOFF = 1.0
"""Seconds; the pauses before retries are this times 0, 2, 4, 8 ..., or what Retry-After says."""

LONGEST_WAIT = 120.0
"""Seconds; if a server asks for a longer wait, the fetch stops and says so."""

FAULTS = (429, 500, 502, 503, 504)

_BLOCK = 1 << 16
_last_asked: dict[str, float] = {}


class AnswerTooLargeError(FetchError):
    """An answer has more bytes than it may."""


def user_agent() -> str:
    """How the program introduces itself to a server."""
    return f"lacbed/{metadata.version('lacbed')} python-requests/{metadata.version('requests')}"


class _BoundedRetry(Retry):
    """Retries as servers ask, but never waits for hours without a word."""

    def get_retry_after(self, response: Any) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        if seconds is not None and seconds > LONGEST_WAIT:
            raise FetchError(
                f"the server asks to wait for {seconds:.0f} s (status {response.status}); try again later"
            )
        return seconds


class PoliteSession(requests.Session):
    """A session of `requests` that other clients can use too.

    Attributes:
        delay: least seconds between the starts of two requests to one server, also from other sessions.
    """

    delay: float = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.headers["User-Agent"] = user_agent()
        retry = _BoundedRetry(
            total=None,
            connect=CONNECTION_RETRIES,
            read=CONNECTION_RETRIES,
            status=RETRIES,
            other=0,
            redirect=10,
            backoff_factor=BACKOFF,
            backoff_max=60.0,
            status_forcelist=FAULTS,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def request(self, method: str, url: str | bytes, *args: Any, **named: Any) -> requests.Response:
        """As `requests.Session.request`, after the delay and with a time limit.

        Raises:
            FetchError: instead of the exceptions of `requests`.
        """
        named["timeout"] = named.get("timeout") or TIMEOUT
        host = host_of(str(url))
        time.sleep(max(0.0, _last_asked.get(host, float("-inf")) + self.delay - time.monotonic()))
        _last_asked[host] = time.monotonic()
        try:
            return super().request(method, url, *args, **named)
        except requests.RequestException as error:
            raise FetchError(_explained(str(url), error)) from None

    def bytes_of(
        self, url: str, parameters: Mapping[str, str] | None = None, largest: int = 10**8, missing_ok: bool = False
    ) -> bytes | None:
        """The body of an answer; None if it does not exist and `missing_ok`.

        Raises:
            FetchError: if the server cannot be reached or refuses, or the answer is larger than `largest` bytes.
        """
        for retries_left in range(CONNECTION_RETRIES, -1, -1):
            response = self.get(url, params=parameters, stream=True)
            with response:
                if missing_ok and response.status_code in (404, 410):
                    return None
                _check_status(response)
                try:
                    return _body(response, largest)
                except requests.RequestException as error:  # broke off in the middle of the body
                    if retries_left == 0:
                        raise FetchError(_explained(url, error)) from None
            time.sleep(BACKOFF)
        raise AssertionError

    def json_of(self, url: str, parameters: Mapping[str, str] | None = None, largest: int = 10**8) -> Any:
        """The JSON of an answer.

        Raises:
            FetchError: as `bytes_of`, and if the answer is not JSON.
        """
        content = self.bytes_of(url, parameters, largest) or b""
        try:
            return json.loads(content)
        except ValueError:
            start = " ".join(content[:60].decode("utf-8", "replace").split())
            raise FetchError(
                f"{host_of(url)} gives an answer that is not JSON ({start!r} ...); "
                "it is a different kind of server, or its answers have changed"
            ) from None


def polite_session(delay: float) -> PoliteSession:
    """A session that pauses at least `delay` seconds between requests."""
    session = PoliteSession()
    session.delay = delay
    return session


def _check_status(response: requests.Response) -> None:
    """Explain every status but 200."""
    status, host = response.status_code, host_of(response.url)
    if status == 200:
        return
    if status in (401, 403):
        raise FetchError(f"{host} refuses access (status {status})")
    if status in FAULTS:
        meaning = "asks to slow down" if status == 429 else "has a fault"
        raise FetchError(f"{host} {meaning} (status {status}), after {RETRIES} retries too; try again later")
    raise FetchError(f"{host} answers with status {status} to {urlsplit(response.url).path}; is this its address?")


def host_of(url: str) -> str:
    """Name of the server in an address."""
    return urlsplit(url).netloc or url


def _body(response: requests.Response, largest: int) -> bytes:
    content = bytearray()
    for block in response.iter_content(_BLOCK):
        content += block
        if len(content) > largest:
            raise AnswerTooLargeError(
                f"{host_of(response.url)} sends more than {largest // 10**6} MB; ask for less, "
                "for example by naming more elements"
            )
    return bytes(content)


def _explained(url: str, error: requests.RequestException) -> str:
    host = host_of(url)
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):  # hidden after retries
        return f"{host} does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"no secure connection to {host}: {reason(error)}"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{host} cannot be reached through the proxy that is set"
    if isinstance(error, requests.ConnectionError):
        return f"{host} cannot be reached; check the network connection and the address"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"{host} broke off in the middle of an answer"
    return f"cannot ask {url!r}: {reason(error)}"

"""lacbed app: bad options in one line, a missing extra, an address that is taken."""

import builtins
import socket

import pytest

from lacbed.cli import main
from lacbed.cli.page import _is_local, _listen, _url

BAD = [
    (["--port", "70000"], "--port must be between"),
    (["--port", "x"], "--port"),
    (["--workers", "0"], "--workers must be between"),
    (["--memory", "0"], "--memory must be between"),
    (["--time-limit", "0"], "--time-limit must be between"),
    (["--host", "no.such.host.invalid"], "cannot serve on no.such.host.invalid"),
]


@pytest.mark.parametrize(("words", "match"), BAD)
def test_bad_options(words, match, capsys):
    assert main(["app", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert match in captured.err


def test_a_port_that_is_taken(capsys):
    with _listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 2
        assert f"port {port}" in capsys.readouterr().err


def test_without_the_extra(monkeypatch, capsys):
    real = builtins.__import__

    def lacking(name, *rest, **more):
        if name == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    assert main(["app"]) == 2
    assert "pip install 'lacbed[app]'" in capsys.readouterr().err


def test_localhost_unless_told_otherwise():
    import inspect

    from lacbed.cli import page

    assert inspect.signature(page.command).parameters["host"].default == "127.0.0.1"
    with _listen("127.0.0.1", 0) as listener:
        assert listener.family == socket.AF_INET
        assert listener.getsockname()[0] == "127.0.0.1"
    assert [_is_local(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "lab")] == [True] * 3 + [False] * 2
    assert _url("0.0.0.0", 80) == "http://localhost:80/"
    assert _url("::1", 80) == "http://[::1]:80/"

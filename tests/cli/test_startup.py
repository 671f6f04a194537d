"""Help and completion answer at once because nothing slow is imported."""

import os
import subprocess
import sys

SLOW = ("torch", "xarray", "matplotlib", "gemmi", "numpy", "scipy", "zarr", "h5netcdf", "tifffile", "pandas")
SLOW += ("starlette", "uvicorn")


ASKED = (["--help"], ["simulate", "--help"], ["--version"], ["compare", "-h"], [])


def test_help_imports_nothing_slow():
    code = (
        "import sys\nfrom lacbed.cli import main\n"
        f"for words in {ASKED!r}:\n"
        "    assert main(words) == 0, words\n"
        f"    slow = [m for m in {SLOW!r} if m in sys.modules]\n"
        "    assert not slow, (words, slow)\n"
        "    print(chr(0))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    *said, end = run.stdout.split("\0\n")
    assert (len(said), end) == (len(ASKED), "")
    assert all("lacbed" in text for text in said)


def test_completion_imports_nothing_slow():
    code = (
        "import sys\nfrom lacbed.cli import main\n"
        "try:\n    main([])\n"
        f"finally:\n    assert not [m for m in {SLOW!r} if m in sys.modules]"
    )
    environment = {
        **os.environ,
        "_LACBED_COMPLETE": "complete_bash",
        "COMP_WORDS": "lacbed sim",
        "COMP_CWORD": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert run.stdout.split() == ["simulate"], run.stderr


def test_every_command_has_help():
    from lacbed.cli.program import app

    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__
    names = {command.name for command in app.registered_commands}
    learned = {"predict", "train", "evaluate", "learning-curve", "export"}
    exact = {"simulate", "potential", "cbed", "compare", "convergence", "convert", "crystals", "info", "app"}
    inverse = {"fit", "refine", "identify", "retrieve", "solve", "plan"}
    assert names == exact | learned | inverse

"""`python -m lacbed` is the command `lacbed`."""

from lacbed.cli import run

if __name__ == "__main__":
    run()

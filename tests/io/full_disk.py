"""A disk of one megabyte, and what a program says that fills it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def last_words(program: str, folder: Path) -> str:
    """Return the last line of a Python program that is given `folder`, where the disk is small."""
    unshare = shutil.which("unshare")
    inside = [unshare or "", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m tmpfs {folder}"
    if not unshare or subprocess.run([*inside, mount], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    done = subprocess.run(
        [*inside, f'{mount} && exec "$@"', "sh", sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.splitlines()[-1]

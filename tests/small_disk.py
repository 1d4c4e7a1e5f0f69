"""A disk that is soon full, for tests of what happens then."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disk_at(path):
    """A file system of 4 MiB at `path`, which is made. Skips, saying why, where none can be mounted."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small tmpfs needs root and mount(8)")
    if (done := subprocess.run(mount, capture_output=True, text=True)).returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)

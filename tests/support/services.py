"""External programs that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str, install: str) -> str:
    """The path of `program`; without it the test skips at home and fails where CI is set.

    `install` is the command that installs it.
    """
    path = shutil.which(program)
    if path is not None:
        return path
    message = f"{program} is not installed: {install}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)

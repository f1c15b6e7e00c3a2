"""Settings loaded from text, and a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.settings import Settings, load_settings
from fairlead.testing import ManualClock

Load = Callable[..., Settings]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load(toml, VARIABLE=text)`."""

    def load(toml: str, **environ: str) -> Settings:
        config = tmp_path / "fairlead.toml"
        config.write_text(toml)
        return load_settings(config, {"HOME": str(tmp_path)} | environ)

    return load

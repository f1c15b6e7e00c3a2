"""Settings loaded from text, in a directory and a home of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fairlead.settings import InvalidConfigurationError, Settings, load_settings

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory; the working directory is another, empty one."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def load(home: Path) -> Load:
    """`load(toml, overrides, VARIABLE=text)`; without a text no file is written."""

    def load(
        toml: str | None = None, overrides: Mapping[str, object] | None = None, **environ: str
    ) -> Settings:
        config = None
        if toml is not None:
            config = home.parent / "given.toml"
            config.write_text(toml)
        return load_settings(config, {"HOME": str(home)} | environ, overrides)

    return load


@pytest.fixture
def problems(load: Load) -> Problems:
    """The same, for a configuration that must be refused: each problem's text."""

    def problems(*args: object, **environ: str) -> list[str]:
        with pytest.raises(InvalidConfigurationError) as caught:
            load(*args, **environ)
        return [str(error) for error in caught.value.errors]

    return problems

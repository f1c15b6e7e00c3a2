"""Where a node keeps things on disk."""

from __future__ import annotations

from pathlib import Path

from fairlead.errors import ConfigurationError


def prepare_data_dir(path: Path) -> Path:
    """Make the data directory, for the owner only; raises `ConfigurationError`."""
    path = path.expanduser()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made ({error.strerror}): choose another with --data-dir"
        raise ConfigurationError("server.data_dir", str(path), reason) from error
    return path


def run_directory(data_dir: Path) -> Path:
    """Where the workers of one node share their metrics."""
    return data_dir / "run"

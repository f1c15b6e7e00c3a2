"""SQL in named blocks of `.sql` files: each begins with a line `-- name: NAME`."""

from __future__ import annotations

from importlib.resources import files


def load_statements(package: str, *path: str) -> dict[str, str]:
    """The blocks of the file at `path` within `package`, by name."""
    text = files(package).joinpath(*path).read_text(encoding="utf-8")
    blocks = (block.partition("\n") for block in text.split("-- name: ")[1:])
    return {name.strip(): sql.strip() for name, _, sql in blocks}

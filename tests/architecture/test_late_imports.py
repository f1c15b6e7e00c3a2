"""What is imported when: nothing heavy by the package itself, optional libraries by one module."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest

from support.source import ROOT, modules

HEAVY = {
    *("aiohttp", "apsw", "fastapi", "httptools", "msgspec", "orjson", "prometheus_client"),
    *("pydantic", "pydantic_settings", "redis", "rich", "starlette", "structlog", "typer"),
    *("uvicorn", "uvloop", "zstandard"),
    *("charset_normalizer", "ignore", "mcp", "numpy", "rustworkx", "tree_sitter", "watchfiles"),
}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `statement`."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=15
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def optional_libraries() -> set[str]:
    """The modules of the libraries that the users' extras install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {
        requirement.partition(">")[0].partition("[")[0]
        for extra, requirements in extras.items()
        if extra != "dev"
        for requirement in requirements
    }
    return {name.replace("-", "_") for name in named}


def test_importing_the_package_does_nothing_else() -> None:
    assert not loaded_by("import fairlead") & HEAVY


@pytest.mark.parametrize("statement", ["import fairlead.app", "import fairlead.cli.main"])
def test_starting_the_program_needs_no_optional_library(statement: str) -> None:
    assert not loaded_by(statement) & optional_libraries()


@pytest.mark.parametrize("library", sorted(optional_libraries()))
def test_an_optional_library_is_imported_by_one_module(library: str) -> None:
    users = {
        module.name
        for module in modules()
        for name in module.imports()
        if name.split(".")[0] == library
    }

    assert len(users) == 1

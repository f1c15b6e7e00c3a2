"""The examples that users read do what they say."""

from __future__ import annotations

import doctest
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import fairlead
from fairlead.cli.console import example
from fairlead.settings import load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


PARTS = [
    "AdaptiveQueueManager",
    "BatchedThreadWriter",
    "ConversationDatabase",
    "FileSystemCache",
    "ModelResponseCache",
    "RepositoryAnalysisCache",
    "ResourcePool",
    "SessionAwareLoadBalancer",
]


@pytest.mark.parametrize("part", PARTS)
def test_the_docstring_of_a_part_is_true(part: str) -> None:
    results = doctest.testmod(import_module(getattr(fairlead, part).__module__))

    assert results.attempted > 0
    assert results.failed == 0


PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/guides/*.md"))]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, code in enumerate(
            re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        )
    ],
)
def test_the_python_in_readme_and_guides_runs(code: str) -> None:
    exec(compile(code, "guide", "exec"), {})  # noqa: S102 - our own pages

    assert "fairlead" in code


def test_the_readme_shows_the_curl_that_the_node_prints() -> None:
    printed = example(load_settings(), "http://127.0.0.1:8100")

    assert shlex.split(printed)[0] == "curl"
    assert printed in README


def test_every_public_name_is_there_and_others_are_an_error() -> None:
    for name in fairlead.__all__:
        assert getattr(fairlead, name).__name__ == name
        assert name in dir(fairlead)
    with pytest.raises(AttributeError, match="nothing"):
        _ = fairlead.nothing


@pytest.mark.parametrize("target", ["serve", "test", "check", "bench"])
def test_the_makefile_has_the_commands_of_the_readme(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert f"make {target}" in README


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    broken = [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]

    assert broken == []

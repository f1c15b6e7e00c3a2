"""Which language a file is written in, by its name or its first line."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

HEAD = 512
"""Bytes of a content in which its first line is looked for."""
MAX_HEADER = 65_536
"""Bytes of a C header that are searched for signs of C++."""

_SUFFIXES = {
    "python": ".py .pyi .pyw",
    "javascript": ".js .jsx .mjs .cjs",
    "typescript": ".ts .mts .cts",
    "tsx": ".tsx",
    "go": ".go",
    "rust": ".rs",
    "java": ".java",
    "c": ".c .h",
    "cpp": ".cc .cpp .cxx .c++ .hh .hpp .hxx .h++ .ipp .tpp .inl",
    "c_sharp": ".cs .csx",
    "ruby": ".rb .rake .gemspec .ru",
    "php": ".php .phtml",
    "kotlin": ".kt .kts",
    "swift": ".swift",
    "scala": ".scala .sc",
    "lua": ".lua",
    "bash": ".sh .bash",
}
_NAMES = {
    "Gemfile": "ruby",
    "Rakefile": "ruby",
    "Vagrantfile": "ruby",
    "SConstruct": "python",
    "SConscript": "python",
    ".bashrc": "bash",
    ".bash_profile": "bash",
    ".profile": "bash",
    "PKGBUILD": "bash",
}
_INTERPRETERS = {
    "python": "python",
    "pypy": "python",
    "node": "javascript",
    "nodejs": "javascript",
    "bun": "typescript",
    "deno": "typescript",
    "ruby": "ruby",
    "php": "php",
    "lua": "lua",
    "luajit": "lua",
    "sh": "bash",
    "bash": "bash",
    "dash": "bash",
}
LANGUAGES = tuple(_SUFFIXES)
"""Every name that this module answers with."""

_BY_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_CPP_SIGN = re.compile(
    rb"^[ \t]*(?:class[ \t]+\w|namespace\b|template[ \t]*<|using[ \t]+\w"
    rb"|(?:public|private|protected)[ \t]*:)",
    re.MULTILINE,
)


def language_of(path: str) -> str | None:
    """The language that the name of `path` tells; None where it tells none."""
    file = PurePosixPath(path)
    return _NAMES.get(file.name) or _BY_SUFFIX.get(file.suffix.lower())


def language_of_content(path: str, data: bytes) -> str | None:
    """The language of a file's name, or else of the interpreter that its first line names.

    A header (`.h`) that declares anything only C++ has is C++.
    """
    named = language_of(path)
    if named == "c" and path.endswith(".h") and _CPP_SIGN.search(data, 0, MAX_HEADER):
        return "cpp"
    if named is not None or PurePosixPath(path).suffix:
        return named
    return _INTERPRETERS.get(_interpreter(data[:HEAD]))


def _interpreter(head: bytes) -> str:
    """The program of a `#!` line, without directory and version; empty where there is none."""
    if not head.startswith(b"#!"):
        return ""
    words = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
    programs = [word.rpartition("/")[2] for word in words if not word.startswith("-")]
    if programs and programs[0] == "env":
        programs = [word for word in programs[1:] if "=" not in word]
    return programs[0].rstrip("0123456789.") if programs else ""

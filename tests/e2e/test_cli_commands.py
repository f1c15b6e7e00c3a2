"""The command line as a real process: what it prints, where, and with which status."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
_OWN = ("FAIRLEAD_", "OPENAI_", "ANTHROPIC_", "XDG_")


@pytest.fixture
def fairlead(tmp_path: Path) -> Run:
    """`fairlead(*arguments, VARIABLE=text)`, run in an empty directory that is its home too."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(_OWN)}
    inherited |= {"HOME": str(tmp_path), "COLUMNS": "80"}

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fairlead", *arguments],
            cwd=tmp_path,
            env=inherited | environ,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )

    return run


class _Answers(http.server.BaseHTTPRequestHandler):
    """`GET /ok/v1/models` lists models, `/refused/…` wants a better key, `/odd/…` is no API."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        body = b'{"data": [{"id": "m1"}]}' if kind == "ok" else b"<html>hello</html>"
        self.send_response(401 if kind == "refused" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the test's output clean."""


@pytest.fixture
def provider() -> Iterator[str]:
    """Base URL of a small local provider."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_help_lists_the_commands(fairlead: Run) -> None:
    done = fairlead("--help")
    assert done.returncode == 0
    for command in ("serve", "upstream", "doctor"):
        assert command in done.stdout
    assert fairlead("--version").stdout.startswith("fairlead 0.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["srve"], "Did you mean"),
        (["serve", "--prot", "1"], "--port"),
        (["serve", "--port", "many"], "--port"),
        (["serve", "--port", "99999"], "from 0 to 65535"),
        (["serve", "--log-format", "xml"], '"text" or "json"'),
        (["serve", "--config", "none.toml"], "there is no such file"),
        (["serve", "--host", "0.0.0.0"], "--insecure"),
        (["serve", "--host", "::"], "--insecure"),
    ],
)
def test_wrong_usage_is_status_2_on_standard_error(
    fairlead: Run, arguments: list[str], told: str
) -> None:
    done = fairlead(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_all_problems_of_file_and_environment(fairlead: Run, tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text('[cache]\npolcy = "all"\napi_key = "sk-hidden-1"\n')
    done = fairlead("serve", "--workers", "0", FAIRLEAD_SERVER__PORT="x")
    assert done.returncode == 2
    for told in (
        "(4 problems)",
        "did you mean cache.policy?",
        "--workers",
        "FAIRLEAD_SERVER__PORT",
    ):
        assert told in done.stderr
    assert "sk-hidden" not in done.stderr


def test_debug_shows_where(fairlead: Run) -> None:
    done = fairlead("--debug", "serve", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_doctor_on_a_bare_machine(fairlead: Run, tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[server]\nport = 0\n")
    done = fairlead("doctor", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (0, True), found
    assert {check["name"] for check in found["checks"]} >= {"configuration", "SQLite", "port"}
    assert found["settings"][0]["key"] == "server.port"
    table = fairlead("doctor")
    assert table.returncode == 0
    assert "0 failed" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80


def test_doctor_asks_each_upstream_with_each_key(
    fairlead: Run, tmp_path: Path, provider: str
) -> None:
    lines = ["[server]", "port = 0"]
    for name in ("ok", "refused", "odd"):
        lines += ["[[upstreams]]", f'name = "{name}"', 'shape = "openai"']
        lines += [f'base_url = "{provider}/{name}/v1"', 'key_env = ["KEY_A", "KEY_B"]']
    (tmp_path / "fairlead.toml").write_text("\n".join(lines))
    done = fairlead("doctor", "--json", KEY_A="first-secret", KEY_B="second-secret")
    assert done.returncode == 1
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["upstream ok, key 1"]["status"] == "ok"
    assert found["upstream refused, key 2"]["status"] == "failed"
    assert "KEY_B" in found["upstream refused, key 2"]["fix"]
    assert "base_url" in found["upstream odd, key 1"]["fix"]
    assert all(check["fix"] for check in found.values() if check["status"] != "ok")
    assert "secret" not in done.stdout + done.stderr


def test_doctor_tells_a_wrong_configuration(fairlead: Run, tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[server]\nport = 'x'\nhost = 3\n")
    done = fairlead("doctor")
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    assert "server.port" in done.stdout


def test_doctor_tells_what_serve_would_refuse(fairlead: Run) -> None:
    done = fairlead("doctor", "--json", FAIRLEAD_SERVER__HOST="0.0.0.0", FAIRLEAD_SERVER__PORT="0")
    assert done.returncode == 1
    failed = [check for check in json.loads(done.stdout)["checks"] if check["status"] == "failed"]
    assert [check["name"] for check in failed] == ["exposure"]
    assert "--insecure" in failed[0]["fix"]

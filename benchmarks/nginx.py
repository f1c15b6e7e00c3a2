"""nginx in its two parts: the fastest upstream for small answers, and the proxy to compare with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bodies import Origin
from benchmarks.fast_upstream import ANSWER, ANSWER_TEXT, MODELS

LARGEST_KEY = 60_000
"""Bytes of a request body that can be the key of nginx's cache; see `_CACHE`."""

_FRAME = """\
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 0;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{body}
}}
"""

# The head buffer takes a small request whole, in one read.
_PLAIN_UPSTREAM = """\
    client_header_buffer_size 16k;
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        default_type application/json;
        location / {{ return 200 '{answer}'; }}
        location = /v1/models {{ return 200 '{models}'; }}
    }}
"""

_PROXY = """\
    client_header_buffer_size 16k;
    client_body_buffer_size 2m;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    proxy_buffer_size 32k;
    proxy_buffers 8 32k;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 300s;
    proxy_cache_path {directory}/cache keys_zone=answers:64m inactive=1h;
{servers}
"""

_UPSTREAM = """\
    upstream {name} {{
        server 127.0.0.1:{port};
        keepalive 2048;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }}
"""

_FORWARD = """\
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        location / {{
            proxy_pass http://{upstream};
            proxy_buffering off;
        }}
    }}
"""

# nginx writes the key into the entry's head, which must fit in one proxy buffer, and whose
# length has 16 bits: a body over 64 KB cannot be a key.
_CACHE = """\
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        client_body_in_single_buffer on;
        location / {{
            proxy_pass http://{upstream};
            proxy_cache answers;
            proxy_cache_methods POST;
            proxy_cache_key "$request_uri|$request_body";
            proxy_cache_valid 200 1h;
        }}
    }}
"""


@dataclass(frozen=True)
class Forward:
    """A port of the proxy: to which upstream, and whether with nginx's own cache."""

    port: int
    origin: Origin
    cached: bool


def find_nginx() -> str | None:
    """The nginx program; Debian keeps it where an ordinary user's PATH does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def version(program: str) -> str:
    """As in `1.22.1`."""
    shown = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=True)
    found = re.search(r"nginx/(\S+)", shown.stderr)
    return found.group(1) if found else "unknown"


def write_upstream(directory: Path, port: int, files: int) -> list[str]:
    """Lay out the plain upstream in `directory`; the arguments to start it with."""
    answer = ANSWER.replace("@ID@", "nginx-$connection-$connection_requests")
    body = _PLAIN_UPSTREAM.format(
        port=port, answer=answer.replace("@TEXT@", ANSWER_TEXT), models=MODELS
    )
    return _write(directory, body, files)


def write_proxy(
    directory: Path, forwards: Sequence[Forward], upstreams: dict[Origin, int], files: int
) -> list[str]:
    """Lay out the proxy before `upstreams` (their ports); the arguments to start it with."""
    servers = [_UPSTREAM.format(name=name, port=port) for name, port in upstreams.items()]
    for forward in forwards:
        layout = _CACHE if forward.cached else _FORWARD
        servers.append(layout.format(port=forward.port, upstream=forward.origin))
    return _write(directory, _PROXY.format(directory=directory, servers="".join(servers)), files)


def _write(directory: Path, body: str, files: int) -> list[str]:
    program = find_nginx()
    assert program is not None, "the caller has looked for nginx"
    directory.mkdir()
    # The workers of a root's nginx would be another user's, who cannot reach the directory.
    user = "user root root;" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    text = _FRAME.format(directory=directory, files=files, user=user, body=body)
    configuration.write_text(text, encoding="utf-8")
    return [program, "-c", str(configuration), "-e", str(directory / "error.log")]

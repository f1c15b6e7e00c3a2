"""The gateway against its relatives, in one run: `python -m benchmarks.gateway --quick`.

Direct, nginx, LiteLLM's proxy, the SGLang router and the complete Fairlead node before the same
fast upstreams; interleaved rounds, medians, ratios, goals. `docs/guides/benchmarks.md` explains
the rows and what they do not say.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import nginx
from benchmarks.bodies import Origin
from benchmarks.exchange import answers
from benchmarks.machine import (
    BenchmarkError,
    Cores,
    busy_seconds,
    pinned,
    raise_file_limit,
    this_machine,
)
from benchmarks.measure import FULL, QUICK, Bench
from benchmarks.peers import (
    PEERS,
    TITLES,
    Site,
    Target,
    direct,
    start_fairlead,
    start_litellm,
    start_nginx,
    start_sglang,
)
from benchmarks.processes import Child, Command, free_ports
from benchmarks.report import About, Results, markdown
from benchmarks.rows import Row, all_rows
from benchmarks.wrk import Wrk

_FILES_NEEDED = 16_384
_UPSTREAM_READY = 10.0
_COUNTABLE_SECONDS = 0.5
_FOREIGN_SHARE = 0.03
"""Share of the servers' core that other processes may take before the report says so."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 fine, 1 it could not be measured, 2 wrong usage."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _stop)
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            _run(options, console, stack)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; every server was ended.")
        return 130
    return 0


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's contract
    # As Ctrl-C, so that the servers are ended on the way out.
    raise KeyboardInterrupt


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run: about two minutes")
    parser.add_argument("--only", default="", metavar="ROW", help="rows whose name has this in it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here, too")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}; direct is always there"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the request bodies")
    environ = os.environ
    for name in ("litellm", "sglang"):
        variable = f"FAIRLEAD_BENCH_{name.upper()}"
        parser.add_argument(
            f"--{name}-python",
            default=environ.get(variable),
            metavar="PATH",
            help=f"Python of the environment that has {TITLES[name]} (or {variable})",
        )
    options = parser.parse_args(arguments)
    options.peers = [name for name in options.peers.split(",") if name]
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"--peers {', '.join(sorted(unknown))}: allowed are {', '.join(PEERS)}")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such directory")
    options.rows = [row for row in all_rows() if options.only in row.id]
    if not options.rows:
        names = ", ".join(row.id for row in all_rows())
        parser.error(f"--only {options.only}: no such row; there are {names}")
    return options


def _run(options: argparse.Namespace, console: Console, stack: ExitStack) -> None:
    machine, cores = this_machine(), Cores.choose()
    files = min(raise_file_limit(), _FILES_NEEDED)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-bench-")))
    stack.enter_context(pinned(cores.load))
    wrk = Wrk(directory, cores.load)
    site = Site(directory, cores.server, _start_upstreams(directory, cores, files, stack), files)
    targets, missing = _start_peers(options, site, console, stack)
    effort = QUICK if options.quick else FULL
    bench = Bench(wrk, effort, options.seed, cores.server)
    results = Results(options.rows, [target.name for target in targets], missing)
    foreign = _measure(bench, targets, results, console)
    about = About(
        machine=machine,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seed=options.seed,
        command=_command(options),
        versions={target.name: target.version for target in targets if target.version},
        rounds=effort.rounds,
        notes=[
            *_notes(cores, options.quick),
            *(target.remark for target in targets if target.remark),
            *_foreign_notes(foreign),
        ],
    )
    print(markdown(results, about))
    if options.json:
        text = json.dumps(results.as_json(about), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def _command(options: argparse.Namespace) -> str:
    """What to type for the same run; without paths, which are another machine's."""
    words = ["python", "-m", "benchmarks.gateway", *(["--quick"] if options.quick else [])]
    words += ["--only", options.only] if options.only else []
    words += ["--peers", ",".join(options.peers)] if set(options.peers) != set(PEERS) else []
    return shlex.join(words)


def _start_upstreams(
    directory: Path, cores: Cores, files: int, stack: ExitStack
) -> dict[Origin, int]:
    if nginx.find_nginx() is None:
        raise BenchmarkError("nginx is not installed, the plain upstream: apt install nginx-light")
    plain, own = free_ports(2)
    commands = {
        plain: nginx.write_upstream(directory / "nginx-upstream", plain, files),
        own: [sys.executable, "-m", "benchmarks.fast_upstream", str(own)],
    }
    root = str(Path(__file__).resolve().parents[1])
    for port, arguments in commands.items():
        log = directory / f"upstream-{port}.log"
        command = Command(arguments, log, cores.load, {"PYTHONPATH": root})
        child = stack.enter_context(Child("the upstream", command))
        url = f"http://127.0.0.1:{port}"
        child.wait_ready(partial(answers, url, "/v1/models"), _UPSTREAM_READY)
    return {"plain": plain, "own": own}


def _start_peers(
    options: argparse.Namespace, site: Site, console: Console, stack: ExitStack
) -> tuple[list[Target], dict[str, str]]:
    """Those that run, and of the others why they do not."""
    starts: dict[str, Callable[[], Target]] = {
        "nginx": lambda: start_nginx(site, stack),
        "litellm": lambda: start_litellm(site, stack, options.litellm_python),
        "sglang": lambda: start_sglang(site, stack, options.sglang_python),
        "fairlead": lambda: start_fairlead(site, stack),
    }
    targets, missing = [direct(site)], {}
    for name, start in starts.items():
        if name not in options.peers:
            missing[name] = "left out by --peers"
            continue
        console.print(f"Starting {TITLES[name]} …")
        try:
            target = start()
        except (BenchmarkError, OSError) as error:
            missing[name] = str(error)
            console.print(f"  {TITLES[name]} does not run: {error}", highlight=False)
            continue
        for child in target.children.values():
            child.pause()
        targets.append(target)
    return targets, missing


def _measure(
    bench: Bench, targets: Sequence[Target], results: Results, console: Console
) -> list[float]:
    """Rounds over rows over servers; a cell that fails is explained, and the run goes on.

    Returns for each cell the share of the servers' core that other processes had.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    cells = [
        (row, target)
        for number in range(bench.effort.rounds)
        for row in results.rows
        if number == 0 or not row.once
        for target in [*targets[number:], *targets[:number]]
        if row.applies(target)
    ]
    foreign = []
    # Refreshed by hand: a thread that draws would take time from the load generator's core.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("", total=len(cells))
        for row, target in cells:
            progress.update(task, description=f"{row.id} · {TITLES[target.name]}", refresh=True)
            foreign.append(_cell(bench, row, target, results))
            progress.advance(task)
    return foreign


def _cell(bench: Bench, row: Row, target: Target, results: Results) -> float:
    began = time.monotonic()
    before = busy_seconds(bench.server_core) - target.usage(row.traffic).cpu_seconds
    try:
        results.add(row.id, target.name, dict(row.run(bench, target)))
    except (BenchmarkError, OSError) as error:
        results.explain(row.id, target.name, str(error))
        return 0.0
    after = busy_seconds(bench.server_core) - target.usage(row.traffic).cpu_seconds
    elapsed = time.monotonic() - began
    # The counters have steps of 10 ms, which say nothing of a short time.
    return (after - before) / elapsed if elapsed > _COUNTABLE_SECONDS else 0.0


def _foreign_notes(shares: Sequence[float]) -> list[str]:
    disturbed = [share for share in shares if share > _FOREIGN_SHARE]
    if not disturbed:
        return []
    return [
        f"Other processes took more than {_FOREIGN_SHARE:.0%} of the servers' core in "
        f"{len(disturbed)} of {len(shares)} measurements (at most {max(disturbed):.0%}): "
        "run it again on a quiet machine."
    ]


def _notes(cores: Cores, quick: bool) -> list[str]:
    notes = []
    if cores.shared:
        notes.append("One core only: the servers compete with their own load; do not quote this.")
    if quick:
        notes.append(
            "A quick run: once, with fewer requests and streams than the rows say; not to quote."
        )
    return notes


if __name__ == "__main__":
    sys.exit(main())

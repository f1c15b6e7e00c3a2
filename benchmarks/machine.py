"""The machine a benchmark runs on: its name for the report, its cores, its limits."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class BenchmarkError(Exception):
    """A benchmark, or one cell of its table, cannot be measured; the text says why."""


@dataclass(frozen=True)
class Machine:
    """What a reader needs to place the figures."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, "
            f"{self.system}, Python {self.python}"
        )


def this_machine() -> Machine:
    """The machine as `/proc` describes it; the cores are those this process may use."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=pages / 2**30,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@dataclass(frozen=True)
class Cores:
    """Which core the load generator and the upstream share, and which the measured server has.

    They are the same one where this process may use only one core: then the figures say little.
    """

    load: int
    server: int

    @classmethod
    def choose(cls) -> Cores:
        """The first two cores that this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[min(1, len(usable) - 1)])

    @property
    def shared(self) -> bool:
        """The server under test competes with its own load."""
        return self.load == self.server


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run on `core` within the block; processes started in it stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_seconds(core: int) -> float:
    """CPU seconds that everything together has used on `core` since the machine started."""
    for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, irq, softirq, *_ = map(int, line.split()[1:])
            return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    raise BenchmarkError(f"/proc/stat does not list core {core}")


def raise_file_limit() -> int:
    """Allow as many open files as the system lets this process and its children; how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard

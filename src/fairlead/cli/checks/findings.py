"""All checks in their order, and how they are shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.cli.checks import Check, failed, fleet, machine, passed
from fairlead.cli.checks.network import Examination
from fairlead.cli.checks.store import Warn, shared_cache
from fairlead.cli.checks.threads import conversations
from fairlead.core.clock import SYSTEM_CLOCK
from fairlead.gateway.base import ResponseStore
from fairlead.gateway.legs import make_leg
from fairlead.gateway.stores import open_store
from fairlead.settings import InvalidConfigurationError, SettingError, Settings, load_settings

_SIGNS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "failed": ("FAIL", "bold red")}


@dataclass(frozen=True)
class Findings:
    """Everything that was found; `settings` is None where they cannot be used."""

    settings: Settings | None
    checks: tuple[Check, ...]

    def count(self, status: str) -> int:
        """How many checks ended so."""
        return sum(check.status == status for check in self.checks)

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return self.count("failed") > 0


def examine(config: Path | None, environ: Mapping[str, str]) -> Findings:
    """Look at everything; a spinner on standard error shows that it goes on."""
    try:
        settings = load_settings(config, environ)
    except InvalidConfigurationError as error:
        return Findings(None, tuple(_problem("configuration", one) for one in error.errors))
    with Console(stderr=True).status("looking …"):
        checks = [*_configuration(settings), *machine.versions(), *machine.data_dir(settings)]
        checks += [machine.cache_file(settings, SYSTEM_CLOCK), machine.open_files(settings)]
        checks += asyncio.run(_over_network(settings))
    return Findings(settings, tuple(checks))


def _problem(name: str, error: SettingError) -> Check:
    return failed(name, error.what, error.fix)


def _configuration(settings: Settings) -> list[Check]:
    where = str(settings.file.absolute()) if settings.file else "no fairlead.toml, so defaults"
    checks = [passed("configuration", where)]
    try:
        settings.check_exposure()
    except SettingError as error:
        checks.append(_problem("exposure", error))
    return checks


async def _over_network(settings: Settings) -> list[Check]:
    examination = Examination(make_leg, SYSTEM_CLOCK)
    port = await examination.port(settings)
    shared = await shared_cache(settings, _open_store)
    shared.append(await conversations(settings))
    found = await asyncio.gather(*(examination.upstream(item) for item in settings.upstreams))
    asked = [check for checks in found for check in checks]
    asked += fleet.together(settings.upstreams, examination.listed)
    return [port, *shared, *asked, examination.clocks()]


def _open_store(settings: Settings, warn: Warn) -> ResponseStore:
    return open_store(
        settings.cache.url.get_secret_value(),
        settings.server.data_dir,
        max_bytes=settings.cache.persist_max_bytes,
        ttl=settings.cache.ttl,
        clock=SYSTEM_CLOCK,
        on_warning=warn,
    )


def as_json(found: Findings) -> str:
    """`{ok, checks: [{name, status, detail, fix}], settings: [{key, value, origin}]}`."""
    given = found.settings.describe() if found.settings else []
    data = {
        "ok": not found.failed,
        "checks": [vars(check) for check in found.checks],
        "settings": [vars(item) for item in given],
    }
    return json.dumps(data, indent=2, ensure_ascii=False)


def show(found: Findings) -> None:
    """A table for people, with the settings that are not at their defaults below it."""
    console = Console(highlight=False)
    console.print(_table(found.checks))
    given = found.settings.describe() if found.settings else []
    changed = [item for item in given if item.origin != "default"]
    if changed:
        console.print("\nNot at their defaults:")
    for item in changed:
        console.print(f"  {item.key} = {item.value}  ({item.origin})", markup=False)
    failures, warnings = found.count("failed"), found.count("warning")
    console.print(f"\n{len(found.checks)} checks: {failures} failed, {warnings} warnings")


def _table(checks: tuple[Check, ...]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=26)
    table.add_column()
    for check in checks:
        told = Text(check.detail, overflow="fold")
        if check.fix:
            told.append(f"\n→ {check.fix}", style="italic")
        table.add_row(Text(*_SIGNS[check.status]), Text(check.name), told)
    return table

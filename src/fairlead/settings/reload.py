"""What a running node takes over when its configuration is read again, and what it does not."""

from __future__ import annotations

from fairlead.settings.catalogue import SECTIONS
from fairlead.settings.resolved import Settings

_THROUGH_UPSTREAMS = frozenset(
    {"network.ca_bundle", "network.proxy", "queue.limit", "queue.max_waiting", "queue.timeout"}
)
"""Defaults that upstreams have taken over, so that they change with them."""


def changed_beyond_reload(old: Settings, new: Settings) -> list[str]:
    """Full names of the settings that differ and that only a restart brings into effect.

    Upstreams are not among them: all of `[[upstreams]]` may change while the node runs. A
    simulated upstream of the node's own that runs on goes on as it was started.
    """
    changed = [
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        for name in model.model_fields
        if getattr(getattr(old, section), name) != getattr(getattr(new, section), name)
    ]
    runs_on = _own(old) & _own(new)
    return [
        key
        for key in changed
        if key not in _THROUGH_UPSTREAMS and (runs_on or not key.startswith("simulated."))
    ]


def _own(settings: Settings) -> set[str]:
    return {upstream.name for upstream in settings.upstreams if upstream.is_own}

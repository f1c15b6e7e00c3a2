"""Which upstreams serve a model."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from fairlead.core.lru import SizedLRU
from fairlead.errors import RequestError
from fairlead.gateway.base import Upstream

_REMEMBERED_MODELS = 1024
_MAX_REMEMBERED_NAME = 256


class Routes:
    """The configured upstreams, by API family and model pattern."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = tuple(upstreams)
        self._by_family = {
            family: tuple(u for u in upstreams if u.shape in {family, "simulated"})
            for family in ("openai", "anthropic")
        }
        # Callers choose model names, so what is remembered about them is bounded.
        self._known: SizedLRU[tuple[str, str], tuple[Upstream, ...]] = SizedLRU(
            _REMEMBERED_MODELS, _REMEMBERED_MODELS, lambda _: 1
        )

    def candidates(self, family: str, model: str) -> tuple[Upstream, ...]:
        """The upstreams for `model`, or of the whole family where a request names none."""
        return self.serving(family, model) if model else self.speaking(family)

    def speaking(self, family: str) -> tuple[Upstream, ...]:
        """Every upstream of the API family; raises `RequestError` (404) where there is none."""
        found = self._by_family[family]
        if not found:
            raise RequestError(
                404,
                f"no upstream here speaks the {family} API: configure one in [[upstreams]]",
                code="no_upstream",
            )
        return found

    def serving(self, family: str, model: str) -> tuple[Upstream, ...]:
        """The upstreams of the family whose patterns match `model`, as configured.

        Raises `RequestError` (404) that lists the known models where there is none.
        """
        found = self._known.get((family, model))
        if found is None:
            found = tuple(
                upstream
                for upstream in self.speaking(family)
                if any(fnmatchcase(model, pattern) for pattern in upstream.models)
            )
            if not found:
                raise self._unknown(family, model)
            if len(model) <= _MAX_REMEMBERED_NAME:
                self._known.put((family, model), found)
        return found

    def _unknown(self, family: str, model: str) -> RequestError:
        patterns = dict.fromkeys(p for u in self.speaking(family) for p in u.models)
        shown = model if len(model) <= 100 else model[:100] + "…"
        return RequestError(
            404,
            f"The model {shown!r} is not served here. Known models: {', '.join(patterns)}",
            param="model",
            code="model_not_found",
        )

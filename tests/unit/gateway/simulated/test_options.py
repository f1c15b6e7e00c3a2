from __future__ import annotations

import pytest

from fairlead.errors import ConfigurationError, RequestError
from fairlead.gateway.simulated import SimulatedOptions
from fairlead.gateway.simulated.controls import Controls, read_controls


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ttft", -1.0),
        ("ttft", float("nan")),
        ("prefill", 1e9),
        ("tokens_per_second", -0.1),
        ("answer_tokens", 0),
        ("error_rate", 1.1),
        ("error_status", 418),
        ("retry_after", -1),
        ("max_concurrency", 0),
        ("prefix_cache_blocks", -1),
        ("max_body_bytes", 0),
        ("models", ()),
        ("models", ("",)),
    ],
)
def test_wrong_options_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SimulatedOptions(**{key: value})
    assert caught.value.key == key
    assert repr(value) in str(caught.value)


def test_controls_are_read() -> None:
    headers = {
        "x-simulate-status": "503",
        "x-simulate-retry-after": "7",
        "x-simulate-break-after": "0",
        "x-simulate-ttft": "0.5",
        "x-simulate-tokens-per-second": "0",
        "x-simulate-events": "12",
        "authorization": "Bearer x",
    }
    assert read_controls(headers) == Controls(503, 7, 0, 0.5, 0.0, 12)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("status", "200", "400 to 599"),
        ("status", "abc", "whole number"),
        ("break-after", "1.5", "whole number"),
        ("ttft", "nan", "0 to 3,600"),
        ("events", "0", "1 to 1,000,000"),
        ("delay", "1", "x-simulate-ttft"),
    ],
)
def test_wrong_controls_are_refused_with_what_is_allowed(name: str, value: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        read_controls({f"x-simulate-{name}": value})
    assert caught.value.status == 400
    assert f"x-simulate-{name}" in str(caught.value)

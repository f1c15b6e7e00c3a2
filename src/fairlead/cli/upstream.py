"""`fairlead upstream`: the simulated model server alone."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.errors import ConfigurationError

if TYPE_CHECKING:
    from fairlead.gateway.simulated import SimulatedOptions, SimulatedServer

_STOPPED = 0
_FAILED = 1


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: use a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: use a number") from None


def _option(help_text: str, default: str, parser: Any = None) -> Any:
    # typer's own parsers do not tell the value that they refuse.
    metavar = {_whole: "N", _number: "NUMBER"}.get(parser)
    return typer.Option(help=help_text, show_default=default, parser=parser, metavar=metavar)


Host = Annotated[str, typer.Option(help="Address to listen on; it holds no secrets.")]
Port = Annotated[int, _option("Port; 0 takes a free one.", "8200", _whole)]
Name = Annotated[str | None, _option("Shown by /healthz and /stats.", "simulated")]
Seed = Annotated[int | None, _option("Same seed, same answers.", "0", _whole)]
Ttft = Annotated[
    float | None, _option("Seconds to the first token of an empty prompt.", "0.02", _number)
]
Prefill = Annotated[
    float | None,
    _option("Seconds per 1,000 prompt tokens not in the prefix cache.", "0.05", _number),
]
Pace = Annotated[
    float | None, _option("Pace of an answer; 0 is as fast as possible.", "80", _number)
]
Length = Annotated[int | None, _option("Length of an unscripted answer.", "120", _whole)]
ErrorRate = Annotated[float | None, _option("Share of requests that fail, 0 to 1.", "0", _number)]
ErrorStatus = Annotated[int | None, _option("How they fail: 429, 500, 503 or 529.", "500", _whole)]
RetryAfter = Annotated[
    int | None, _option("Seconds in retry-after of 429, 503 and 529.", "1", _whole)
]
Concurrency = Annotated[
    int | None,
    _option("Requests at a time; one more is refused with 429 or 529.", "1000", _whole),
]
Blocks = Annotated[
    int | None,
    _option("512-token blocks the prefix cache holds; 0 turns it off.", "10000", _whole),
]
BodyBytes = Annotated[
    int | None, _option("A larger request body is refused with 413.", "33554432", _whole)
]
ScriptFile = Annotated[Path | None, typer.Option(help="TOML file of scripted answers.")]
Models = Annotated[
    list[str] | None,
    _option("Name that /v1/models lists, repeatable; any model is answered.", "simulated"),
]


def upstream(
    host: Host = "127.0.0.1",
    port: Port = 8200,
    name: Name = None,
    seed: Seed = None,
    ttft: Ttft = None,
    prefill: Prefill = None,
    tokens_per_second: Pace = None,
    answer_tokens: Length = None,
    error_rate: ErrorRate = None,
    error_status: ErrorStatus = None,
    retry_after: RetryAfter = None,
    max_concurrency: Concurrency = None,
    prefix_cache_blocks: Blocks = None,
    max_body_bytes: BodyBytes = None,
    script: ScriptFile = None,
    model: Models = None,
) -> None:
    """Run the simulated model server alone (OpenAI and Anthropic shapes).

    Exit status: 0 stopped by a signal, 1 the address cannot be used, 2 a wrong option or script.
    """
    if not 0 <= port <= 65_535:
        raise typer.BadParameter(f"{port}: use a value from 0 to 65,535", param_hint="--port")
    options = _options(
        name=name,
        seed=seed,
        ttft=ttft,
        prefill=prefill,
        tokens_per_second=tokens_per_second,
        answer_tokens=answer_tokens,
        error_rate=error_rate,
        error_status=error_status,
        retry_after=retry_after,
        max_concurrency=max_concurrency,
        prefix_cache_blocks=prefix_cache_blocks,
        max_body_bytes=max_body_bytes,
        script=script,
        models=tuple(model) if model else None,
    )
    import uvloop  # noqa: PLC0415 - `--help` stays fast without it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(_serve(options, host, port))
    raise typer.Exit(status)


def _options(**given: Any) -> SimulatedOptions:
    from fairlead.gateway.simulated import SimulatedOptions  # noqa: PLC0415 - `--help` stays fast

    try:
        return SimulatedOptions(**{key: value for key, value in given.items() if value is not None})
    except ConfigurationError as error:
        option = "--model" if error.key == "models" else "--" + error.key.replace("_", "-")
        message = f"{error.value!r}: {error.fix}"
        raise typer.BadParameter(message, param_hint=option) from None


async def _serve(options: SimulatedOptions, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM; the exit status."""
    from fairlead.gateway.simulated import SimulatedServer  # noqa: PLC0415 - `--help` stays fast

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = SimulatedServer(options, host, port)
    try:
        await server.open()
    except ConfigurationError as error:
        if error.key == "address":
            typer.echo(f"fairlead upstream: {error}", err=True)
            return _FAILED
        raise typer.BadParameter(str(error), param_hint="--script") from None
    async with server:
        typer.echo(_greeting(server))
        await stop.wait()
    return _STOPPED


def _greeting(server: SimulatedServer) -> str:
    options = server.options
    script = f"answers from {options.script}" if options.script else "no script"
    body = '{"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]}'
    return (
        f"Simulated upstream (no model behind it) at {server.url}; seed {options.seed}, {script}.\n"
        f"OpenAI base URL {server.url}/v1, Anthropic base URL {server.url}; counts at /stats.\n"
        f"Try:\n"
        f"  curl -s {server.url}/v1/chat/completions -H 'content-type: application/json' "
        f"-d '{body}'\n"
        "Stop with Ctrl+C."
    )

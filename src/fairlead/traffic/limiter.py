"""What a server can take: how many tasks at a time, and how fast it gets through them. Pure."""

from __future__ import annotations

import math

from fairlead.core.clock import Clock

MIN_SAMPLES, MAX_SAMPLES = 20, 512
"""Per window. The median of 20 bears nine long prompts; beyond 512 more say nothing new."""

MIN_WINDOW, MAX_WINDOW = 0.05, 1.0
"""A window lasts one normal time to first byte, between these seconds."""

TOLERANCE = 2.0
"""Times to first byte up to so many times the normal one do not lower the limit."""

NOISE = 0.05
"""Seconds; a normal time below this counts as this: so little is not felt, and a busy machine's
own delays are several times as long."""

SMOOTHING = 0.5
"""Weight of the new limit against the old one."""

FALL, RISE = 0.1, 0.02
"""How fast the normal time follows windows below and above it, per window."""

UNMOVED = 0.75
"""Where half the tasks run, and the time to first byte is still above this part of what it was,
it does not come from the number of tasks."""

BACK_OFF = 0.75
"""Factor on the limit, once per window, where a server refuses although next to nothing runs."""

STEP_TIME, STEP = 2.0, 1.25
"""After a refusal the limit rises by this factor each time so many seconds pass without one."""

DRAIN_TIME = 15.0
"""Seconds over which the drain rate is averaged (time constant)."""


class GradientLimiter:
    """A concurrency limit that follows the time to first byte, between two bounds.

    Like Gradient2 of Netflix's concurrency-limits: new limit = limit x gradient + sqrt(limit),
    where the gradient is `TOLERANCE` x normal / current time to first byte, between 0.5 and 1; the
    root is the queue that the server may have; and the limit grows only while it is used.

    What differs, because the time to first byte of a model grows with the prompt: the current
    time is the median of a window of at least twenty samples, never a single one. Because under
    endless overload a plain average would come to take the overload for normal: the normal time
    rises only in windows that leave the limit half unused, and starts from the faster quarter of
    the first samples. And because prompts may grow longer for good: if half as many tasks at a
    time do not make the server faster, then its time is the new normal. What remains: after such a
    change the normal time may be too high until the load next falls, and the limit with it.

    A refusal (429, 503, 529) says more than a slow answer: so many tasks were too many. The limit
    falls below that number at once, where a factor would take many round trips from a wrong start.
    Then it returns step by step to where it was, so that the server is asked for too much only now
    and then, and a refusal that had another reason costs seconds.
    """

    def __init__(self, limit: int, minimum: int, maximum: int, clock: Clock) -> None:
        self.limit = limit
        """Tasks at a time."""
        self.normal = 0.0
        """Seconds to the first byte without overload; 0 before the first window."""
        self.overloads = 0
        """Times that `overloaded` has lowered the limit."""
        self._exact = float(limit)
        self._minimum, self._maximum = minimum, maximum
        self._clock = clock
        self._samples: list[float] = []
        self._most_running = 0
        self._window_start = clock.monotonic()
        self._ceiling = math.inf
        self._aim = 0.0
        """Where the limit was before it was refused more; it returns there."""
        self._step_at = self._rest_until = -math.inf
        self._slow: tuple[int, float] | None = None

    def sample(self, seconds: float, running: int) -> None:
        """A first byte came after `seconds`; `running` tasks ran when its own began."""
        now = self._clock.monotonic()
        if len(self._samples) < MAX_SAMPLES:
            self._samples.append(seconds)
            self._most_running = max(self._most_running, running)
        self.step()
        # A low limit brings few samples, and must not stay low for want of them.
        enough = min(MIN_SAMPLES, 2 * self.limit)
        if len(self._samples) >= enough and now - self._window_start >= self._window:
            samples = sorted(self._samples)
            self._samples.clear()
            self._window_start = now
            running, self._most_running = self._most_running, 0
            self._judge(samples, running)

    def overloaded(self, running: int, running_now: int) -> None:
        """The server refused a task; `running` tasks ran when it began, itself included."""
        now = self._clock.monotonic()
        self.step()
        # Of those that run now half at least are not the reason, however late this one is.
        ceiling = max(running - 1.0, running_now / 2)
        if ceiling < self._minimum:
            if now < self._rest_until:
                return
            self._rest_until = now + self._window
            ceiling = self._exact * BACK_OFF
        self.overloads += ceiling < self._exact
        self._aim = max(self._aim, self._exact)
        self._ceiling = min(self._ceiling, ceiling)
        self._step_at = now + STEP_TIME
        self._set(self._exact)

    def step(self) -> None:
        """Go back towards where the limit was before a refusal, as far as it is time."""
        if not self._aim:
            return
        now = self._clock.monotonic()
        while now >= self._step_at and self._ceiling < self._aim:
            self._ceiling = max(self._ceiling, 1.0) * STEP
            self._step_at += STEP_TIME
            self._set(max(self._exact, min(self._ceiling, self._aim)))
        if self._ceiling >= self._aim:
            self._ceiling, self._aim = math.inf, 0.0

    @property
    def _window(self) -> float:
        return min(max(self.normal, MIN_WINDOW), MAX_WINDOW)

    def _judge(self, samples: list[float], running: int) -> None:
        current = samples[len(samples) // 2]
        used = running >= self.limit / 2
        self._learn(samples[len(samples) // 4], current, running, used)
        if not used:
            return
        normal = max(self.normal, NOISE)
        gradient = max(0.5, min(1.0, TOLERANCE * normal / current)) if current else 1.0
        wanted = self._exact * gradient + math.sqrt(self._exact)
        self._aim *= gradient
        self._set(self._exact + SMOOTHING * (wanted - self._exact))

    def _learn(self, fast: float, current: float, running: int, used: bool) -> None:
        """Move the normal time."""
        if not self.normal:
            self.normal = fast
        self._compare(current, running)
        if current < self.normal:
            self.normal += FALL * (current - self.normal)
        elif not used:
            # A few slow answers of a quiet time must not pass for what is normal under load.
            self.normal += min(RISE * (current - self.normal), 0.1 * self.normal)

    def _compare(self, current: float, running: int) -> None:
        """Set what is slow against what was slow while twice as many tasks ran."""
        most, slowest = self._slow or (0, 0.0)
        if running >= most:
            is_slow = current > TOLERANCE * max(self.normal, NOISE)
            self._slow = (running, current) if is_slow else None
        elif running * 2 > most:
            # The first slow window still had samples of before.
            self._slow = most, max(slowest, current)
        else:
            if current > UNMOVED * slowest:
                self.normal = max(self.normal, current)
            self._slow = None

    def _set(self, limit: float) -> None:
        limit = min(limit, self._ceiling)
        self._exact = min(max(limit, float(self._minimum)), float(self._maximum))
        self.limit = round(self._exact)


class DrainRate:
    """How many tasks end per second: an average that forgets exponentially."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0
        self._count = 0.0

    def add(self, now: float) -> None:
        """One task has ended at `now` (monotonic seconds)."""
        if self._since is None:
            self._since = self._last = now
        self._count = self._count * math.exp((self._last - now) / DRAIN_TIME) + 1.0
        self._last = now

    def per_second(self) -> float:
        """The rate now; 0 where nothing has ended for long, or ever."""
        if self._since is None:
            return 0.0
        now = self._clock.monotonic()
        count = self._count * math.exp((self._last - now) / DRAIN_TIME)
        if count < 0.1:
            return 0.0
        # Early on the average covers less time than its constant; half a second at least, so that
        # two tasks that end together are not taken for a thousand a second.
        covered = DRAIN_TIME * -math.expm1((self._since - now) / DRAIN_TIME)
        return count / max(covered, 0.5)

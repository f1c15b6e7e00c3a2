"""Shipped fakes for tests of programs that build on Fairlead; production code never imports it."""

from fairlead.testing.clock import ManualClock

__all__ = ["ManualClock"]

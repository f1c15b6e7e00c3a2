"""Shipped fakes for tests of programs that build on Fairlead; production code never imports it."""

from fairlead.testing.clock import ManualClock
from fairlead.testing.upstream import Caller, FlakyUpstream, RawRequest, Script, answering

__all__ = ["Caller", "FlakyUpstream", "ManualClock", "RawRequest", "Script", "answering"]

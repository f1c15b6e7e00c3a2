"""Mechanisms without I/O, settings or HTTP."""

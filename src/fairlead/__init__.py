"""Fairlead: a self-hosted backend that makes AI coding assistants fast, cheap and dependable."""

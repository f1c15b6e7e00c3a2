"""Arguments to settings, one `asyncio.run`; one file per command."""

"""Two processes with a cache of one directory: no update is lost, and nothing read is old."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from fairlead.errors import RequestError
from fairlead.workspace.fileoptions import FileCacheOptions
from fairlead.workspace.files import FileSystemCache

OTHER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_two_processes import count_up
asyncio.run(count_up(Path(sys.argv[1]), int(sys.argv[2])))
"""
ROUNDS = 40


async def count_up(place: Path, rounds: int) -> None:
    """Add one to the number in a file so many times, each time from what it is then."""
    async with FileSystemCache(place, options=FileCacheOptions(watch=False)) as files:
        done = 0
        while done < rounds:
            read = await files.read("counter")
            try:
                await files.write("counter", b"%d" % (int(read.data) + 1), if_match=read.etag)
            except RequestError as error:
                if error.status != 412:
                    raise
                continue
            done += 1


async def test_no_increment_is_lost(tmp_path: Path) -> None:
    (tmp_path / "counter").write_bytes(b"0")
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER, str(tmp_path), str(ROUNDS), str(Path(__file__).parent))
    )
    try:
        async with asyncio.timeout(15):
            await count_up(tmp_path, ROUNDS)
            assert await other.wait() == 0
    finally:
        if other.returncode is None:
            other.kill()
            await other.wait()

    assert int((tmp_path / "counter").read_bytes()) == 2 * ROUNDS
    assert os.listdir(tmp_path) == ["counter"]  # noqa: PTH208 - one name

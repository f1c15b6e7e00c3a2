"""Stamps: taken from a status, and old enough to be believed."""

from __future__ import annotations

import os

from fairlead.workspace.base import Stamp


def stamp_of(status: os.stat_result) -> Stamp:
    """What of `status` says whether a file is still the same."""
    return Stamp(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def is_young(stamp: Stamp, moment: float, age: float) -> bool:
    """Whether a later change might have left the same stamp ("racily clean").

    `moment` is when the look at it began (seconds since 1970), `age` how much older (seconds) a
    file must be for its file system's clock to have gone on for certain. From git's
    Documentation/technical/racy-git.txt.
    """
    return max(stamp.modified_ns, stamp.changed_ns) > (moment - age) * 1e9

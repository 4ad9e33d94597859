"""Who can write to a file or folder: this user, or others too."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_private(*paths: Path) -> bool:
    """Say whether nobody but this user, and root, can write to any of these paths.

    A path that does not exist has not been written by anybody. Members of the group count as
    others: which accounts a group has is not for this machine's files alone to say. An access
    control list that lets others write shows in the bits of the group.
    """
    for path in paths:
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        except OSError:
            return False
        if facts.st_uid not in (os.geteuid(), 0) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True

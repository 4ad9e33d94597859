"""The command line: `flowblob`, also `python -m flowblob`.

One module per group of commands. A command is loaded when it is used, so that `--help` and the TAB
key stay quick; `app.py` holds the table of them. Data goes to stdout, everything else to stderr.
Packages add groups through the entry point `flowblob.cli`; `Command`, `Group` and `current_session`
are what they need.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowblob.cli.commands import Command, Group
    from flowblob.cli.session import Session, current_session

__all__ = ["Command", "Group", "Session", "current_session", "main"]


def main() -> None:
    """Run the command line of this process and exit."""
    from flowblob.cli.app import run

    sys.exit(run(sys.argv[1:]))


def __getattr__(name: str) -> Any:
    if name in ("Command", "Group"):
        from flowblob.cli import commands

        return getattr(commands, name)
    if name in ("Session", "current_session"):
        from flowblob.cli import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Keys, and what somebody without one leaves in a store."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

KEY = "first:" + base64.b64encode(b"one key that nobody else knows..").decode()
OTHER = "second:" + base64.b64encode(b"another key, made much later on.").decode()


class Trap:
    """A value whose loading leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))

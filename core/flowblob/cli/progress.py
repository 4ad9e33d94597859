"""Progress of long transfers: one line that is painted anew, or a line now and then in logs."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from flowblob.cli.session import Session, wants_color
from flowblob.wording import duration, size

#: Transfers that are over by then show nothing; longer ones are painted within 200 ms.
FIRST_PAINT = 0.15
REPAINT = 0.1
LOG_LINE = 10.0
_WINDOW = 5.0
_BAR = 28


class Meter:
    """Counts bytes and says how fast they go.

    Args:
        total: Bytes to come, None if nobody knows.
        clock: Monotonic seconds.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._clock = clock
        self._start = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._start, 0)])

    def add(self, count: int) -> None:
        """Count bytes."""
        self.done += count

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def rate(self) -> float:
        """Return bytes per second over the last seconds: what the network does now counts."""
        now = self._clock()
        self._samples.append((now, self.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (self.done - before) / (now - then) if now > then else 0.0

    def line(self, what: str, width: int = 0, paint: Callable[[str], str] = str) -> str:
        """Return the state in one line, with a bar if a width is given.

        Args:
            what: What is going on.
            width: Columns of the terminal, 0 for a line in a log.
            paint: Colours the bar.
        """
        rate = self.rate()
        parts = [what]
        if not self.total:
            parts.append(size(self.done))
        else:
            share = min(self.done / self.total, 1.0)
            parts += [f"{size(self.done)} of {size(self.total)}", f"{share:.0%}"]
        parts.append(f"{size(rate)}/s")
        if self.total and self.done >= self.total:
            parts.append("finishing")  # hashed and copied; now it is synced and committed
        elif self.total and rate > 0:
            parts.append(f"ETA {duration(max((self.total - self.done) / rate, 1))}")
        text = "  ".join(parts) if width else ", ".join(parts)
        if not width:
            return text
        room = min(_BAR, width - len(text) - 3)
        if not self.total or room < 5:
            return text[: width - 1]
        filled = round(room * min(self.done / self.total, 1.0))
        return f"{paint('━' * filled)}{'─' * (room - filled)}  {text}"


class Tally(Meter):
    """Counts things of which nobody knows how many there are."""

    def line(self, what: str, width: int = 0, paint: Callable[[str], str] = str) -> str:
        """Return what is going on, and how many things were seen."""
        del paint
        text = f"{what}{'  ' if width else ', '}{self.done:,} so far"
        return text[: width - 1] if width else text


class Transfer:
    """Shows a transfer on stderr while the block runs; call it with numbers of bytes.

    Args:
        session: How to answer.
        what: What is going on, `storing` or the like.
        total: Bytes to come, None if nobody knows.
        stream: Where to show it.
    """

    def __init__(
        self, session: Session, what: str, total: int | None, *, stream: TextIO | None = None
    ) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._on = session.progress and not session.quiet
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        # A program that asked for JSON reads stderr as a log, if at all.
        self._live = self._live and not session.json
        self._color = wants_color(session.color, is_terminal=self._live)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._painted = False
        self.meter: Meter = Meter(total)

    @property
    def is_on(self) -> bool:
        """Whether anything is shown, and the total worth asking for."""
        return self._on

    def __call__(self, count: int) -> None:
        self.meter.add(count)

    def __enter__(self) -> Transfer:
        if self._on:
            self._thread = threading.Thread(target=self._show, daemon=True, name="progress")
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._painted and self._live:
            self._write("\r\x1b[K")  # the result takes the place of the bar

    def _show(self) -> None:
        wait = FIRST_PAINT if self._live else LOG_LINE
        while not self._over.wait(wait):
            if self._live:
                width = shutil.get_terminal_size().columns
                self._write(f"\r{self.meter.line(self._what, width, self._paint)}\x1b[K")
                wait = REPAINT
            else:
                self._write(f"flowblob: {self.meter.line(self._what)}\n")
            self._painted = True

    def _paint(self, text: str) -> str:
        return f"\x1b[36m{text}\x1b[0m" if self._color else text

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, UnicodeEncodeError):
            self._over.set()  # nobody looks any more; the transfer goes on


class Counter(Transfer):
    """Shows a count on stderr while the block runs; call it with numbers of things.

    Args:
        session: How to answer.
        what: What is going on, `collecting` or the like.
    """

    def __init__(self, session: Session, what: str) -> None:
        super().__init__(session, what, None)
        self.meter = Tally(None)

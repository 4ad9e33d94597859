"""Records that nobody waits for: input and hit uses, hit counts. A hit pays no sync for them.

They queue in memory and are written every 100 ms and at exit. A killed process may lose the last
100 ms of them, never anything else.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

from flowblob.abc import Note

logger = logging.getLogger(__name__)

INTERVAL = timedelta(milliseconds=100)
#: Above this many waiting notes, the caller writes them itself.
_FULL = 10_000


class best_effort:
    """Log what fails inside instead of raising it: `with best_effort("Linking a read"):`.

    Linking, hit counting and previews must never fail a task. This is the one place that may
    swallow an error; KeyboardInterrupt and SystemExit pass.

    Args:
        what: What is lost when it fails, for the log.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        logger.warning(
            "%s failed: %s", self._what, error, exc_info=logger.isEnabledFor(logging.DEBUG)
        )
        return True


class Journal:
    """A queue of notes with one thread that writes them in batches.

    Args:
        write: Writes one batch, in one transaction.
        interval: How long a note may wait.
    """

    def __init__(
        self, write: Callable[[list[Note]], None], *, interval: timedelta = INTERVAL
    ) -> None:
        self._write = write
        self._interval = interval.total_seconds()
        self._notes: deque[Note] = deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._closed = False

    def add(self, note: Note) -> None:
        """Queue a note; returns at once."""
        if self._process != os.getpid():
            self._start()
        self._notes.append(note)
        if not self._wake.is_set():
            self._wake.set()
        if len(self._notes) > _FULL:
            self.flush()

    def flush(self) -> None:
        """Write what is queued, now; a failure is logged with what was lost."""
        if self._process != os.getpid():
            return
        with self._lock:
            batch = []
            while self._notes:
                batch.append(self._notes.popleft())
            if batch:
                with best_effort(f"Recording {len(batch)} uses and hits"):
                    self._write(batch)

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self.flush()
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._process == os.getpid():
            self._thread.join(timeout=5)
        self._thread = None
        self._process = 0

    def _start(self) -> None:
        """Begin anew in this process: after a fork, the parent writes its own notes."""
        self._process = os.getpid()
        self._notes = deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        journal = weakref.ref(self)
        self._thread = threading.Thread(
            target=_work,
            args=(journal, self._wake, self._interval),
            name="flowblob-journal",
            daemon=True,
        )
        self._thread.start()
        atexit.register(_flush, journal)
        import multiprocessing.util  # 10 ms that `import flowblob` need not pay

        # Children of multiprocessing leave without running atexit.
        multiprocessing.util.Finalize(None, _flush, args=(journal,), exitpriority=10)


def _flush(journal: weakref.ref[Journal]) -> None:
    if (alive := journal()) is not None:
        alive.flush()


def _work(reference: weakref.ref[Journal], wake: threading.Event, interval: float) -> None:
    pause = threading.Event()
    while True:
        wake.wait()
        pause.wait(interval)  # gathers a batch
        wake.clear()
        journal = reference()
        if journal is None or journal._closed:
            return
        journal.flush()
        del journal

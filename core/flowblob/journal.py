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

from flowblob.drafts import Note

logger = logging.getLogger(__name__)

INTERVAL = timedelta(milliseconds=100)
#: After so many intervals without a note the thread sleeps until it is woken. Waking it for every
#: batch would cost a hit 60 us: it takes the interpreter's lock at the next statement.
_IDLE_ROUNDS = 20
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


class _Session:
    """The queue of one process: what waits, and the thread that writes it.

    It holds the notes apart from the journal, so that a store which is dropped without `close`
    still has them written.
    """

    def __init__(self, write: Callable[[list[Note]], None]) -> None:
        self.process = os.getpid()
        self.notes: deque[Note] = deque()
        self.wake = threading.Event()
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._write = write
        self._thread: threading.Thread | None = None

    def start(self, interval: float) -> None:
        self._thread = threading.Thread(
            target=self._work, args=(interval,), name="flowblob-journal", daemon=True
        )
        self._thread.start()
        session = weakref.ref(self)
        atexit.register(_flush, session)
        import multiprocessing.util  # 10 ms that `import flowblob` need not pay

        # Children of multiprocessing leave without running atexit.
        multiprocessing.util.Finalize(None, _flush, args=(session,), exitpriority=10)

    def flush(self) -> None:
        if self.process != os.getpid():
            return  # after a fork, the parent's notes are the parent's to write
        with self._lock:
            batch = []
            while self.notes:
                batch.append(self.notes.popleft())
            if batch:
                with best_effort(f"Recording {len(batch)} uses and hits"):
                    self._write(batch)

    def end(self) -> None:
        """Have the thread write what waits and leave; does no I/O, as collectors call it."""
        self.ending.set()
        self.wake.set()

    def join(self) -> None:
        if self._thread is not None and self.process == os.getpid():
            self._thread.join(timeout=5)

    def _work(self, interval: float) -> None:
        idle = 0
        while not self.ending.is_set():
            self.wake.wait()
            self.ending.wait(interval)  # gathers a batch
            idle = 0 if self.notes else idle + 1
            if idle >= _IDLE_ROUNDS:
                self.wake.clear()
                if self.notes:  # of somebody who saw the thread still awake
                    self.wake.set()
            self.flush()


def _flush(reference: weakref.ref[_Session]) -> None:
    if (session := reference()) is not None:
        session.flush()


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
        self._sessions: dict[int, _Session] = {}

    def add(self, note: Note) -> None:
        """Queue a note; returns at once."""
        session = self._sessions.get(os.getpid()) or self._start()
        session.notes.append(note)
        if not session.wake.is_set():
            session.wake.set()
        if len(session.notes) > _FULL or session.ending.is_set():
            session.flush()

    def flush(self) -> None:
        """Write what is queued, now; a failure is logged with what was lost."""
        if (session := self._sessions.get(os.getpid())) is not None:
            session.flush()

    def close(self) -> None:
        """Write what is queued and end the thread."""
        if (session := self._sessions.pop(os.getpid(), None)) is not None:
            session.flush()
            session.end()
            session.join()

    def _start(self) -> _Session:
        mine = _Session(self._write)
        # One step, since threads that meet here must not each begin a queue: notes would be lost.
        session = self._sessions.setdefault(mine.process, mine)
        if session is mine:
            mine.start(self._interval)
            weakref.finalize(self, mine.end).atexit = False
        return session

"""A thread that repeats a small action while something long runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta


class Heartbeat:
    """Call `beat` every `interval` until stopped; the thread ends when `beat` returns False.

    Args:
        interval: Time between calls.
        beat: The action. What it raises is its own business: it must handle its errors.
    """

    def __init__(self, interval: timedelta, beat: Callable[[], bool]) -> None:
        self._interval = interval.total_seconds()
        self._beat = beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="flowblob-heartbeat", daemon=True)

    def start(self) -> Heartbeat:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread and wait for the call that may be under way."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Heartbeat:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            if not self._beat():
                return

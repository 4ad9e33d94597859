"""Sessions of noxfile.py in lanes: those of one follow one another, the lanes run side by side."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".reports"
PERCENT = re.compile(rb"\[ *(\d+)%\]")
#: A minute without a line looks like a hang.
SECONDS_BETWEEN_NEWS = 30
#: What interrupted sessions have to stop the servers of their own.
SECONDS_TO_END = 15


@dataclass
class Outcome:
    """One session that has ended.

    Attributes:
        session: Its name.
        parts: What nox reports: several where a session has one for each Python.
        status: The exit code of nox.
        seconds: How long it took.
        cpu: Seconds of CPU that its processes took, without those of servers it did not start.
    """

    session: str
    parts: list[dict[str, object]]
    status: int
    seconds: float
    cpu: float


@dataclass
class Running:
    """One session that runs, in a process group of its own.

    Attributes:
        session: Its name.
        env: Its environment; its temporary files are in a folder of their own.
        log: Where its output goes, or None: to the terminal, as it comes.
    """

    session: str
    env: dict[str, str]
    log: Path | None

    def __post_init__(self) -> None:
        # Sessions side by side must not clean up each other's numbered folders.
        scratch = Path(self.env["TMPDIR"]) / self.session
        scratch.mkdir(mode=0o755, exist_ok=True)
        self._report = REPORTS / f"{self.session}.json"
        self._began = time.monotonic()
        command = [str(Path(sys.executable).parent / "nox"), "--noxfile", str(ROOT / "noxfile.py")]
        command += ["--no-stop-on-first-error", "--report", str(self._report)]
        out = None if self.log is None else self.log.open("wb")
        self._process = subprocess.Popen(
            [*command, "--session", self.session],
            cwd=ROOT,
            env={**self.env, "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if out is not None:
            out.close()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def progress(self) -> str:
        """Its name and how far its tests are, as pytest has it."""
        found = PERCENT.findall(self.log.read_bytes()) if self.log else []
        return f"{self.session} {int(found[-1])} %" if found else self.session

    def outcome(self) -> Outcome | None:
        """Return what came of it, once it has ended."""
        pid, status, used = os.wait4(self._process.pid, os.WNOHANG)
        if not pid:
            return None
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._sweep()
        parts = []
        if self._report.exists():
            parts = json.loads(self._report.read_text(encoding="utf-8"))["sessions"]
        cpu = used.ru_utime + used.ru_stime
        return Outcome(self.session, parts, self._process.returncode, self.seconds, cpu)

    def interrupt(self) -> None:
        """Tell all of its processes to end, as Ctrl-C would."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def end(self, deadline: float) -> None:
        """See that nothing of it goes on, and wait no longer than until then."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0, deadline - time.monotonic()))
        self._sweep()
        self._process.wait()

    def _sweep(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


@dataclass
class Lane:
    """Sessions that follow one another."""

    waiting: list[str]
    is_live: bool
    running: Running | None = None

    def step(self, env: dict[str, str]) -> Outcome | None:
        """Begin the next session if none runs; return what came of one that has ended."""
        if self.running is None and self.waiting:
            session = self.waiting.pop(0)
            log = None if self.is_live else REPORTS / f"{session}.log"
            self.running = Running(session, env, log)
        done = self.running.outcome() if self.running else None
        if done:
            self.running = None
        return done


def run(lanes: Sequence[Sequence[str]], env: dict[str, str]) -> Generator[Outcome, None, None]:
    """Run all sessions and yield each that ends.

    The output of a session is printed whole when it ends, and as it comes where there is one lane
    only. If the caller goes on no more, what runs is interrupted.
    """
    made = [Lane(list(lane), is_live=len(lanes) == 1) for lane in lanes]
    told = time.monotonic()
    # Beside the sessions that follow: a slow disk takes minutes to delete what the tests have left.
    cleaner = ThreadPoolExecutor(1)
    try:
        while any(lane.waiting or lane.running for lane in made):
            for lane in made:
                if done := lane.step(env):
                    scratch = Path(env["TMPDIR"]) / done.session
                    cleaner.submit(shutil.rmtree, scratch, ignore_errors=True)
                    if not lane.is_live:
                        show(done)
                    yield done
            if len(made) > 1 and time.monotonic() - told > SECONDS_BETWEEN_NEWS:
                told = time.monotonic()
                running = [lane.running for lane in made if lane.running]
                print("...", ", ".join(one.progress for one in running), flush=True)
            time.sleep(0.2)
    finally:
        left, deadline = [lane.running for lane in made if lane.running], time.monotonic()
        for running in left:
            running.interrupt()
        for running in left:
            running.end(deadline + SECONDS_TO_END)
        cleaner.shutdown()


def show(done: Outcome) -> None:
    """Print all that a session said."""
    how = "ok" if done.status == 0 else "FAILED"
    took = f"{done.seconds:.0f} s, {done.cpu:.0f} s of CPU"
    print(f"\n{'=' * 16} {done.session}: {how}, {took} {'=' * 16}", flush=True)
    sys.stdout.buffer.write((REPORTS / f"{done.session}.log").read_bytes())
    sys.stdout.flush()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and Ctrl-C all end the program through its `finally` clauses, once."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _: object) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        print(f"\nended by {signal.Signals(number).name}; stopping what runs", file=sys.stderr)
        raise SystemExit(128 + number)

    before = {each: signal.signal(each, end) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

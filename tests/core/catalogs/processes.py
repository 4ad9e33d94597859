"""Workers that wait for one another, and what they said."""

from __future__ import annotations

import json


def begin(processes):
    """Let workers go at once that are all ready."""
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def rest(process):
    """Return what a worker says after `readline`; `communicate` drops what that has read ahead."""
    out, err = process.stdout.read(), process.stderr.read()
    process.wait()
    return out, err


def results(process):
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]

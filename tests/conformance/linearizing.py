"""Says whether a recorded history of one key could have happened one operation at a time.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory
of what was tried ("Testing for linearizability", 2016): take operations that no other must precede,
apply them to the model, go back where none fits. Keys are independent, so each is checked alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class State(NamedTuple):
    """What a key is: its incarnation and head (empty where it does not live), and an alias."""

    life: str = ""
    head: int = -1
    alias: int = -1


@dataclass(frozen=True)
class Operation:
    """One call: what was asked, what was answered, and between which moments it ran."""

    key: str
    verb: str
    asked: Any
    answer: Any
    began: int
    ended: int


def applied(state: State, operation: Operation) -> State | None:
    """Return the state after an operation, None if it cannot have had this answer here."""
    step = _STEPS[operation.verb]
    return step(state, operation.asked, operation.answer)


def _put(state: State, asked: Any, answer: Any) -> State | None:
    life, version = answer
    if not state.life:
        return State(life, 0) if version == 0 else None
    return state._replace(head=version) if (life, version) == (state.life, state.head + 1) else None


def _swap(state: State, asked: Any, answer: Any) -> State | None:
    if answer == "absent":
        return None if state.life else state
    if not state.life:
        return None
    if answer == "conflict":
        return state if state.head != asked else None
    return _put(state, asked, answer) if state.head == asked else None


def _create(state: State, asked: Any, answer: Any) -> State | None:
    if answer == "exists":
        return state if state.life else None
    return None if state.life else _put(state, asked, answer)


def _head(state: State, asked: Any, answer: Any) -> State | None:
    seen = None if answer is None else tuple(answer)
    return state if seen == ((state.life, state.head) if state.life else None) else None


def _delete(state: State, asked: Any, answer: Any) -> State | None:
    if answer == "absent":
        return None if state.life else state
    life, head = answer
    return State() if state.life and (life, head) == (state.life, state.head) else None


def _promote(state: State, asked: Any, answer: Any) -> State | None:
    life, version, expect = asked
    if answer == "absent":
        return state if state.life != life else None
    if state.life != life:
        return None
    at = None if state.alias < 0 else state.alias
    if answer == "conflict":
        return state if expect is not None and at != expect else None
    return state._replace(alias=version) if expect in (None, at) else None


def _alias(state: State, asked: Any, answer: Any) -> State | None:
    if answer is None:
        return state if not state.life or state.alias < 0 else None
    return state if tuple(answer) == (state.life, state.alias) else None


_STEPS = {
    "put": _put,
    "swap": _swap,
    "create": _create,
    "head": _head,
    "delete": _delete,
    "promote": _promote,
    "alias": _alias,
}


def explain(history: Sequence[Operation]) -> str:
    """Return why no order of one key's operations fits, empty if one does."""
    operations = sorted(history, key=lambda operation: operation.began)
    done, state, tried = 0, State(), {(0, State())}
    stack: list[tuple[int, State, list[int]]] = []
    options = _first(operations, done)
    furthest = 0
    while done != (1 << len(operations)) - 1:
        for index in options:
            after = applied(state, operations[index])
            mark = done | (1 << index)
            if after is not None and (mark, after) not in tried:
                tried.add((mark, after))
                stack.append((done, state, options[options.index(index) + 1 :]))
                done, state = mark, after
                options = _first(operations, done)
                furthest = max(furthest, done.bit_count())
                break
        else:
            if not stack:
                return _told(operations, furthest)
            done, state, options = stack.pop()
    return ""


def _first(operations: Sequence[Operation], done: int) -> list[int]:
    """Return the operations that may come next: none that is left had ended before they began."""
    options: list[int] = []
    soonest = None
    start = (~done & (done + 1)).bit_length() - 1  # everything before it is done
    for index in range(start, len(operations)):
        if done >> index & 1:
            continue
        operation = operations[index]
        if soonest is not None and operation.began > soonest:
            break
        options.append(index)
        soonest = operation.ended if soonest is None else min(soonest, operation.ended)
    return options


def _told(operations: Sequence[Operation], furthest: int) -> str:
    near = "\n".join(
        f"  {o.verb} {o.asked} -> {o.answer} [{o.began}, {o.ended}]"
        for o in operations[max(0, furthest - 8) : furthest + 8]
    )
    return f"no order fits after {furthest} of {len(operations)} operations; near there:\n{near}"

"""Tables for terminals that never cut what one would copy, and tab-separated lines for pipes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flowblob.cli.text import clean

_GAP = 2
_LEAST = 8


class Styler(Protocol):
    """What colours text."""

    def style(self, text: object, **style: Any) -> str:
        """Return safe text in a style."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: Heading.
        value: What a person sees of an item.
        raw: What a pipe gets, in full; `value` if not given.
        priority: The lowest are dropped first on a narrow terminal; 0 is for pipes only, and 9
            is never dropped or cut: what one would copy.
        is_right: Numbers stand to the right.
        is_bold: Names stand out.
        is_flexible: May be cut on a narrow terminal: half a time or a number says something else.
    """

    title: str
    value: Callable[[Any], object]
    raw: Callable[[Any], object] | None = None
    priority: int = 5
    is_right: bool = False
    is_bold: bool = False
    is_flexible: bool = False


def tab_separated(item: Any, columns: Sequence[Column]) -> str:
    """Return one line for a pipe: every column in full, no colour."""
    return "\t".join(_plain((column.raw or column.value)(item)) for column in columns)


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        return clean(json.dumps(value, ensure_ascii=False)) if value else ""
    return clean(value)


def render(
    items: Sequence[Any], columns: Sequence[Column], styler: Styler, width: int = 0
) -> Iterator[str]:
    """Yield the lines of a table that fits the terminal."""
    shown = [column for column in columns if column.priority > 0]
    cells = {column.title: [_plain(column.value(item)) for item in items] for column in shown}
    # A column with nothing in it only takes room from those that have something.
    shown = [column for column in shown if column.priority == 9 or any(cells[column.title])]
    widths = _fit(shown, cells, width or shutil.get_terminal_size().columns)
    shown = [column for column in shown if column.title in widths]
    if not items:
        return
    yield _line(shown, widths, {c.title: c.title for c in shown}, styler, is_head=True)
    for row in range(len(items)):
        yield _line(shown, widths, {c.title: cells[c.title][row] for c in shown}, styler)


def _fit(columns: Sequence[Column], cells: dict[str, list[str]], available: int) -> dict[str, int]:
    """Return the width of every column that stays: shrink by priority, then drop by priority."""
    widths = {
        column.title: max(map(cell_width, [column.title, *cells[column.title]]))
        for column in columns
    }
    weakest_first = sorted(
        (column for column in columns if column.priority < 9), key=lambda column: column.priority
    )

    def excess() -> int:
        return sum(widths.values()) + _GAP * (len(widths) - 1) - available

    for column in weakest_first:
        if not column.is_flexible or (over := excess()) <= 0:
            continue
        least = max(len(column.title), _LEAST)
        widths[column.title] = max(min(least, widths[column.title]), widths[column.title] - over)
    for column in weakest_first:
        if excess() <= 0:
            break
        del widths[column.title]
    return widths


def _line(
    columns: Sequence[Column],
    widths: dict[str, int],
    cells: dict[str, str],
    styler: Styler,
    *,
    is_head: bool = False,
) -> str:
    parts = []
    for position, column in enumerate(columns):
        text = _cut(cells[column.title], widths[column.title])
        padding = " " * (widths[column.title] - cell_width(text))
        style = {"dim": True} if is_head else {"bold": True} if column.is_bold else {}
        styled = styler.style(text, **style)
        is_last = position == len(columns) - 1
        parts.append(padding + styled if column.is_right else styled + ("" if is_last else padding))
    return (" " * _GAP).join(parts)


def _cut(text: str, width: int) -> str:
    if cell_width(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += cell_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # only names with wide characters need its tables

    return cell_len(text)

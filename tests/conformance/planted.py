"""Small faults, each a change of a few characters, that the suite must notice.

They stand for what a person, a merge or a clever optimisation does to an engine. A fault is text in
a file of `flowblob` and what stands there instead; `plant` makes a copy of the package that has it.
All of them are in `faults.toml`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "core" / "flowblob"


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        name: What is wrong.
        file: Where, under `flowblob`.
        old: Text that stands there exactly once.
        new: What stands there instead.
        test: The quickest test that notices it.
        engines: Whose tests are run where that one does not: `memory`, or `local` for files.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    engines: str = "memory"

    @property
    def fits(self) -> bool:
        """Whether the code still has the text."""
        return (PACKAGE / self.file).read_text().count(self.old) == 1

    def plant(self, folder: Path) -> None:
        """Make a copy of the package in a folder, with the fault in it."""
        assert self.fits, f"{self.name}: {self.file} does not hold {self.old!r} once"
        # All but the fault's own file are links, folders without it too: with their bytecode.
        source, target = PACKAGE, folder / "flowblob"
        for part in Path(self.file).parts:
            target.mkdir()
            for path in source.iterdir():
                if path.name != part:
                    (target / path.name).symlink_to(path)
            source, target = source / part, target / part
        target.write_text(source.read_text().replace(self.old, self.new))


def _read() -> tuple[Fault, ...]:
    file = Path(__file__).with_name("faults.toml")
    return tuple(Fault(**row) for row in tomllib.loads(file.read_text())["fault"])


FAULTS = _read()

"""Where a blob came from and what became of it: walks over uses and explicit parents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flowblob.abc import Catalog
from flowblob.model import Blob, Run, Use


@dataclass(frozen=True, slots=True)
class Edge:
    """One step of lineage, from what was there before to what came of it.

    Attributes:
        source: Node id.
        target: Node id.
        role: `input`, `output`, `cache_hit` or `parent`.
    """

    source: str
    target: str
    role: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """A part of the graph of blobs and runs around one blob.

    Attributes:
        focus: The blob it was asked for.
        blobs: Node id to blob.
        runs: Node id to run.
        edges: What led to what.
    """

    focus: Blob
    blobs: dict[str, Blob]
    runs: dict[str, Run]
    edges: tuple[Edge, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "focus": self.focus.ref,
            "blobs": {node: blob.ref for node, blob in self.blobs.items()},
            "runs": {node: str(run) for node, run in self.runs.items()},
            "edges": [{"source": e.source, "target": e.target, "role": e.role} for e in self.edges],
        }

    def to_mermaid(self) -> str:
        """Return a Mermaid flowchart: blobs as boxes, runs as pills, cache hits dashed.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("numbers", [1])
            >>> print(store.lineage("numbers").to_mermaid())
            flowchart LR
              b0["numbers@0"]:::focus
        """
        names = {node: f"b{position}" for position, node in enumerate(self.blobs)}
        names |= {node: f"r{position}" for position, node in enumerate(self.runs)}
        lines = ["flowchart LR"]
        for node, blob in self.blobs.items():
            focus = ":::focus" if blob.id == self.focus.id else ""
            lines.append(f'  {names[node]}["{_label(blob.ref)}"]{focus}')
        lines += [f'  {names[node]}(["{_label(_title(run))}"])' for node, run in self.runs.items()]
        lines += [
            f"  {names[e.source]} {'-.->' if e.role == 'cache_hit' else '-->'} {names[e.target]}"
            for e in self.edges
        ]
        return "\n".join(lines)

    def to_text(self) -> str:
        """Return two trees for a terminal: what it came from, and what used it."""
        lines = [self.focus.ref]
        for heading, step in (("came from", self._into), ("was used by", self._out_of)):
            tree = list(
                self._branches(f"blob:{self.focus.id}", step, "  ", {f"blob:{self.focus.id}"})
            )
            if tree:
                lines += [f"{heading}:", *tree]
        return "\n".join(lines)

    def _into(self, node: str) -> Iterable[tuple[str, str]]:
        return ((edge.source, edge.role) for edge in self.edges if edge.target == node)

    def _out_of(self, node: str) -> Iterable[tuple[str, str]]:
        return ((edge.target, edge.role) for edge in self.edges if edge.source == node)

    def _branches(
        self,
        node: str,
        step: Callable[[str], Iterable[tuple[str, str]]],
        indent: str,
        seen: set[str],
    ) -> Iterable[str]:
        for other, role in step(node):
            name = self.blobs[other].ref if other in self.blobs else _title(self.runs[other])
            note = " (cache hit)" if role == "cache_hit" else ""
            yield f"{indent}{name}{note}"
            if other not in seen:
                yield from self._branches(other, step, indent + "  ", seen | {other})


def _title(run: Run) -> str:
    task = f"{run.flow}/{run.task}" if run.task else run.flow
    return f"{run.system} {task}{f'[{run.map_index}]' if run.map_index >= 0 else ''}"


def _label(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "&lt;")


class _Walk:
    """Collects nodes and edges, breadth first; a depth of one is one blob further."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.blobs: dict[str, Blob] = {}
        self.runs: dict[str, Run] = {}
        self.edges: dict[Edge, None] = {}

    def go(self, start: Blob, depth: int, *, up: bool) -> None:
        level = [start]
        self._blob(start)
        seen = {start.id}
        for _ in range(depth):
            following: list[Blob] = []
            for blob in level:
                following += [found for found in self._step(blob, up=up) if found.id not in seen]
                seen.update(found.id for found in following)
            level = following

    def _step(self, blob: Blob, *, up: bool) -> list[Blob]:
        near = ("output",) if up else ("input", "cache_hit")
        far = ("input", "cache_hit") if up else ("output",)
        found = []
        for use in self._catalog.uses(blob_id=blob.id):
            if use.role not in near:
                continue
            self._edge(use)
            for other in self._catalog.uses(run=_identity(use.run)):
                if other.role in far and other.blob.id != blob.id:
                    self._edge(other)
                    found.append(other.blob)
        relatives = self._catalog.parents(blob.id) if up else self._catalog.children(blob.id)
        for relative in relatives:
            ends = (self._blob(relative), self._blob(blob))
            self.edges[Edge(*(ends if up else ends[::-1]), "parent")] = None
            found.append(relative)
        return found

    def _blob(self, blob: Blob) -> str:
        node = f"blob:{blob.id}"
        self.blobs.setdefault(node, blob)
        return node

    def _edge(self, use: Use) -> None:
        run = "run:" + "/".join(map(str, use.run.identity))
        self.runs.setdefault(run, use.run)
        ends = (run, self._blob(use.blob)) if use.role == "output" else (self._blob(use.blob), run)
        self.edges[Edge(*ends, use.role)] = None


def _identity(run: Run) -> dict[str, Any]:
    system, task_run_id, attempt = run.identity
    return {"system": system, "task_run_id": task_run_id, "attempt": attempt}


def walk(catalog: Catalog, blob: Blob, depth: int) -> Lineage:
    """Return the lineage around a blob.

    Args:
        catalog: Where the edges are.
        blob: Where to begin.
        depth: How many blobs to go, each way.
    """
    collected = _Walk(catalog)
    collected.go(blob, depth, up=True)
    collected.go(blob, depth, up=False)
    return Lineage(blob, collected.blobs, collected.runs, tuple(collected.edges))

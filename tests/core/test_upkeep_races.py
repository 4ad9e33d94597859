"""Collections beside puts, deletions and each other, without grace: nothing that lives is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from flowblob import Store

PUTTERS, COLLECTORS = 4, 2

# Few contents, so that puts share payloads that others give up at the same moment.
WORK = """
    import json, pathlib, random
    from flowblob import Store
    from flowblob.errors import ConflictError, NotFoundError, PayloadMissingError

    number, folder, putters = int(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    store = Store(folder / "store")
    marks = folder / "marks"

    def content(choice):
        return bytes([choice]) * (100 if choice % 2 else 50_000)

    def put_and_delete():
        draw = random.Random(number)
        mine, gone = {}, []
        for step in range(120):
            choice = draw.randrange(6)
            blob = store.put(f"k{draw.randrange(3)}-{number}", content(choice), new_version=True)
            mine[blob.id] = choice
            assert store.get(blob) == content(choice)
            if draw.random() < 0.6:
                dropped = draw.choice(list(mine))
                choice = mine.pop(dropped)
                store.delete(f"id:{dropped}")
                gone.append((dropped, choice))
            if gone and draw.random() < 0.3:
                dropped, choice = gone.pop()
                try:
                    store.undelete(f"id:{dropped}")
                except NotFoundError:
                    continue  # collected
                mine[dropped] = choice
        (marks / str(number)).touch()
        return mine

    def collect():
        freed = 0
        while len(list(marks.iterdir())) < putters:
            freed += store.gc(grace=0, dry_run=False, force=True).payloads
        return freed

    start()
    print(json.dumps(put_and_delete() if number < putters else collect()))
"""


def test_collectors_without_grace_take_nothing_that_lives(
    tmp_path: Path, together: Callable[..., list[str]]
) -> None:
    (tmp_path / "marks").mkdir()
    with Store(tmp_path / "store") as store:
        printed = [
            json.loads(text)
            for text in together(WORK, tmp_path, PUTTERS, count=PUTTERS + COLLECTORS)
        ]
        assert sum(printed[PUTTERS:]) > 0  # else this test shows nothing
        for mine in printed[:PUTTERS]:
            assert mine
            for blob_id, choice in mine.items():
                expected = bytes([choice]) * (100 if choice % 2 else 50_000)
                assert store.get(f"id:{blob_id}") == expected
        report = store.verify()
        assert report.is_clean
        store.gc(grace=0, dry_run=False, force=True)
        used = {p.name for p in store.catalog.generations() if not p.is_inline}
        files = {str(p.relative_to(tmp_path / "store/payloads")) for p in _files(tmp_path)}
        assert files == used


def _files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "store/payloads").glob("??/*") if path.is_file()]

"""The catalog as a file: permissions, foreign files, full disks, newer schemas, networks."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest

from flowblob.catalogs import migrations, mounts, sqlite_file
from flowblob.catalogs.clock import Clock
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.errors import (
    CatalogUnavailableError,
    InvalidInputError,
    NotSupportedError,
    SchemaVersionError,
)
from flowblob.model import Ref


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_user_may_read_a_new_store(open_catalog, path, make):
    catalog = open_catalog()
    catalog.commit(make.draft())
    assert mode(path.parent) == 0o700
    names = {p.name: mode(p) for p in path.parent.iterdir()}
    assert names == {
        "catalog.db": 0o600,
        "catalog.db-wal": 0o600,
        "catalog.db-shm": 0o600,
        "catalog.db.lock": 0o600,
    }


def test_nothing_is_opened_before_the_first_use(path):
    catalog = SqliteCatalog(path)
    assert not path.parent.exists()
    catalog.close()
    assert catalog.url == f"sqlite://{path}"


def test_a_store_keeps_its_id_and_records_over_a_reopen(open_catalog, make):
    first = open_catalog()
    blob = first.commit(make.draft(run=make.run())).blob
    first.close()
    second = open_catalog()
    assert second.store_id == first.store_id
    found = second.find(Ref("models/churn"), payload=True)
    assert (found.blob, found.payload.data) == (blob, b"one")
    assert first.find(Ref("models/churn")).blob == blob  # a closed catalog may be used again


def test_a_clean_close_leaves_one_file_and_the_lock(open_catalog, path, make):
    catalog = open_catalog()
    catalog.commit(make.draft())
    catalog.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["catalog.db", "catalog.db.lock"]


def test_what_is_acknowledged_is_synced_and_what_nobody_waits_for_is_not(open_catalog):
    catalog = open_catalog()
    modes = [
        write(lambda c: c.execute("PRAGMA synchronous").fetchone()[0])
        for write in (catalog._write, catalog._write_relaxed)
    ]
    assert modes == [2, 1]
    assert catalog.facts()["journal_mode"] == "wal"


def test_facts_tell_what_doctor_shows(catalog, make):
    catalog.commit(make.draft())
    facts = catalog.facts()
    assert facts["engine"] == "sqlite"
    assert facts["engine_version"] == sqlite3.sqlite_version
    assert (facts["schema"], facts["synchronous"]) == (migrations.latest("sqlite"), "FULL")
    assert facts["store_id"] == catalog.store_id
    assert facts["counts"]["version"] == 1
    assert facts["size"] > facts["free"] >= 0


def test_catalogs_pickle_by_their_path(open_catalog):
    catalog = open_catalog()
    copy = pickle.loads(pickle.dumps(catalog))
    assert copy.store_id == catalog.store_id
    copy.close()
    memory = SqliteCatalog.memory()
    with pytest.raises(TypeError, match="in-memory"):
        pickle.dumps(memory)


def test_catalogs_in_memory_are_apart(make):
    one, two = SqliteCatalog.memory(), SqliteCatalog.memory()
    one.commit(make.draft())
    one.close()
    assert one.find(Ref("models/churn")) is not None
    assert two.find(Ref("models/churn")) is None
    assert one.store_id != two.store_id
    one._end()
    two._end()


# ------------------------------------------------------------------ other files


def run_sql(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_newer_schema_is_refused_with_both_numbers(open_catalog, path):
    catalog = open_catalog()
    assert catalog.store_id
    catalog.close()
    run_sql(path, "PRAGMA user_version = 99")
    with pytest.raises(SchemaVersionError, match=rf"99.*{migrations.latest('sqlite')}"):
        assert open_catalog().store_id


def test_a_database_of_another_program_is_left_alone(open_catalog, path):
    path.parent.mkdir()
    run_sql(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="another program"):
        assert open_catalog().store_id
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_named(open_catalog, path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(CatalogUnavailableError, match=r"catalog\.db.*backup") as caught:
        assert open_catalog().store_id
    assert not caught.value.retryable


def test_an_empty_file_becomes_a_store(open_catalog, path):
    path.parent.mkdir()
    path.touch()
    assert open_catalog().check() == []


def test_a_damaged_page_is_found_by_check_and_reported_by_reads(open_catalog, path, make):
    catalog = open_catalog()
    for n in range(300):
        catalog.commit(make.draft(f"key/{n}", bytes([n % 256]) * 500))
    catalog.close()
    data = bytearray(path.read_bytes())
    for page in range(60, len(data) // 4096):
        data[page * 4096 : page * 4096 + 4096] = b"\x99" * 4096
    path.write_bytes(data)
    damaged = open_catalog()
    with pytest.raises(CatalogUnavailableError, match="malformed") as caught:
        [damaged.find(Ref(f"key/{n}"), payload=True) for n in range(300)]
    assert not caught.value.retryable
    assert "backup" in caught.value.hint


def test_a_folder_in_place_of_the_file_is_an_error_of_ours(open_catalog, path):
    path.mkdir(parents=True)
    with pytest.raises(CatalogUnavailableError):
        assert open_catalog().store_id


def test_a_file_in_place_of_the_folder_is_an_error_of_ours(open_catalog, path):
    path.parent.write_text("in the way")
    with pytest.raises(CatalogUnavailableError, match="Cannot open"):
        assert open_catalog().store_id


# ------------------------------------------------------------------ trouble


def test_a_full_disk_fails_the_put_and_harms_nothing(open_catalog, make):
    catalog = open_catalog()
    catalog.commit(make.draft(data=b"before"))

    def limit(connection):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    catalog._write(limit)
    large = make.draft(data=b"x" * 1_000_000)
    with pytest.raises(CatalogUnavailableError, match="Free space") as caught:
        catalog.commit(large)
    assert caught.value.retryable
    assert catalog.find(Ref("models/churn"), payload=True).payload.data == b"before"
    assert catalog.outcome(large.op) is None
    catalog._write(lambda c: c.execute("PRAGMA max_page_count = 1000000"))
    assert catalog.commit(large).blob.version == 1
    assert catalog.check() == []


def test_a_program_that_holds_the_database_is_waited_for(open_catalog, path, make, clock):
    open_catalog().commit(make.draft())
    impatient = SqliteCatalog(path, wait=0.1, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(CatalogUnavailableError, match="Another program") as caught:
            impatient.commit(make.draft(data=b"two"))
        assert caught.value.retryable
        assert impatient.find(Ref("models/churn")) is not None
    finally:
        other.close()
    assert impatient.commit(make.draft(data=b"two")).is_new
    impatient.close()


def test_sqlite_that_is_too_old_is_refused(open_catalog, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 7, 17))
    with pytest.raises(NotSupportedError, match="too old"):
        assert open_catalog().store_id


def read_as_nobody(path):
    """Read and try to write as a user who owns nothing; in a child, as there is no way back."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    catalog = SqliteCatalog(path)
    for _ in range(3):
        assert catalog.find(Ref("models/churn"), payload=True).payload.data == b"one"
    assert catalog.check() == []
    with pytest.raises(CatalogUnavailableError, match="permission") as caught:
        catalog.tag(catalog.find(Ref("models/churn")).blob.id, {"a": 1})
    assert not caught.value.retryable
    catalog.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("state", ["settled", "open", "killed"])
@pytest.mark.parametrize("folder", [0o555, 0o755])
def test_a_store_that_cannot_be_written_still_serves_reads(make, start, state, folder):
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        path = root / "store" / "catalog.db"
        catalog = SqliteCatalog(path)
        catalog.commit(make.draft())
        if state == "killed":
            shutil.copytree(path.parent, root / "copy")
        catalog.close()
        if state == "killed":
            path = root / "copy" / path.name
        if state == "open":
            assert start("keep_open", path).stdout.readline() == "ready\n"
        for file in path.parent.iterdir():
            file.chmod(0o444)
        path.parent.chmod(folder)
        child = os.fork()
        if not child:
            code = 1
            try:
                read_as_nobody(path)
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
                raise
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(root)


# ------------------------------------------------------------------ where it may live

TABLE = """\
22 1 0:20 / / rw,relatime - ext4 /dev/vda rw
31 22 0:31 / /mnt/share rw,relatime shared:1 - nfs4 host:/share rw
32 31 0:32 / /mnt/share/local rw - xfs /dev/vdb rw
33 22 0:33 / /mnt/with\\040space rw - cifs //host/share rw
34 22 0:34 / /mnt/ssh rw - fuse.sshfs user@host: rw
35 22 0:35 / /mnt/covered rw - ext4 /dev/vdc rw
36 22 0:36 / /mnt/covered rw - nfs host:/covered rw
broken line
"""


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "mountinfo"
    file.write_text(TABLE)
    return file


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/ana", "ext4"),
        ("/mnt/share/x", "nfs4"),
        ("/mnt/share/local/x", "xfs"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with space/x", "cifs"),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/mnt/covered/x", "nfs"),
    ],
)
def test_network_file_systems_are_refused_with_the_way_out(table, folder, kind):
    path = Path(folder) / "catalog.db"
    assert mounts.mount_of(path, mounts=table)[0] == kind
    if kind in ("ext4", "xfs"):
        mounts.refuse_network(path, mounts=table)
        return
    with pytest.raises(NotSupportedError, match="PostgreSQL"):
        mounts.refuse_network(path, mounts=table)


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path):
    mounts.refuse_network(tmp_path / "catalog.db", mounts=tmp_path / "none")


# ------------------------------------------------------------------ clock


def test_the_clocks_run_on_in_microseconds():
    clock = Clock()
    assert abs(clock.wall() - time.time() * 1e6) < 5e6
    before = clock.ticks()
    assert 0 <= clock.ticks() - before < 5e6
    assert Clock().boot == clock.boot != ""


def test_without_a_boot_clock_the_wall_decides(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    clock = Clock()
    assert clock.boot == "wall"
    assert abs(clock.ticks() - clock.wall()) < 5e6


def test_a_disk_without_room_for_the_shared_memory_is_called_full(tmp_path):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    assert "Free space" in sqlite_file.translate(error, Path("/proc/catalog.db")).hint
    assert "kernel" in sqlite_file.translate(error, tmp_path / "catalog.db").hint

"""Dropping versions, bringing them back, and when it is too late."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowblob.errors import ConflictError, InvalidInputError, NotFoundError
from flowblob.model import Ref

GRACE = timedelta(hours=24)


@pytest.fixture
def put(catalog, make):
    def put_(key="k", data=b"one", **fields):
        return catalog.commit(make.draft(key, data, **fields)).blob

    return put_


def collect(catalog, grace=GRACE):
    found = catalog.condemned(grace=grace, limit=100)
    for payload in found:
        catalog.forget(payload.generation)
    return len(found)


def refs(blobs):
    return [blob.ref for blob in blobs]


def data_of(catalog, ref):
    return catalog.find(Ref.parse(ref), payload=True).payload.data


# ------------------------------------------------------------------ live, drop, weigh


def test_live_versions_of_all_keys_come_in_pages_by_id(catalog, put):
    blobs = [put(f"k{n % 3}", bytes([n])) for n in range(7)]
    catalog.delete(Ref("k0", version=0))
    kept = sorted(blob.id for blob in blobs[1:])
    first = catalog.live(limit=4)
    rest = catalog.live(after=first[-1].id, limit=4)
    assert [blob.id for blob in first + rest] == kept
    assert catalog.live(after=kept[-1]) == []


def test_drop_takes_exactly_the_versions_named(catalog, put):
    a0, a1, b0 = put("a"), put("a", b"two"), put("b")
    catalog.delete(Ref("b"))
    dropped = catalog.drop([a1.id, b0.id, "unknown", a1.id], by="retention")
    assert refs(dropped) == ["a@1"]
    assert catalog.find(Ref("a")).blob.id == a0.id
    assert catalog.check() == []


def test_an_alias_and_a_pinned_entry_protect_a_version(catalog, put, make):
    aliased, pinned = put("a"), put("b", entry=make.entry("f"))
    output = put("c")
    put("d", entry=make.entry("g", outputs={"model": output.id}))
    plain = put("e", entry=make.entry("h"))
    catalog.promote(aliased, "prod")
    for key in ("fb1:f", "fb1:g"):
        catalog.pin_entry(key, is_pinned=True)
    everything = [aliased.id, pinned.id, output.id, plain.id]
    assert refs(catalog.drop(everything)) == ["e@0"]
    assert catalog.entry("fb1:h") is None
    catalog.unalias("a", "prod")
    catalog.pin_entry("fb1:g", is_pinned=False)
    assert sorted(refs(catalog.drop(everything))) == ["a@0", "c@0"]
    assert catalog.entry("fb1:f") is not None


def test_a_key_that_lost_all_versions_continues_its_numbers(catalog, put):
    first = put()
    catalog.drop([first.id])
    assert catalog.find(Ref("k")) is None
    assert catalog.blobs() == []
    again = put()
    assert (again.version, again.incarnation) == (1, first.incarnation)
    assert catalog.check() == []


def test_only_what_nobody_else_uses_is_weighed(catalog, put):
    a, b, c = put("a", b"shared"), put("b", b"shared"), put("c", b"alone")
    assert catalog.weigh([a.id, c.id]) == (1, 5)
    assert catalog.weigh([a.id, b.id, c.id]) == (2, 11)
    catalog.drop([b.id])
    assert catalog.weigh([a.id]) == (1, 6)
    assert catalog.weigh([]) == (0, 0)
    many = [put("m", str(n).encode(), new_version=True).id for n in range(12)] * 100
    assert catalog.weigh(many[:12]) == (12, 14)


# ------------------------------------------------------------------ undelete


def test_a_deleted_version_comes_back_as_it_was(catalog, put):
    put()
    second = put(data=b"two", tags={"stage": "x"})
    catalog.delete(Ref("k", version=1))
    assert catalog.undelete(Ref("k", version=1)) == [second]
    assert catalog.find(Ref("k")).blob == second
    assert data_of(catalog, "k@1") == b"two"
    assert catalog.check() == []


def test_a_deleted_key_comes_back_with_its_aliases(catalog, put):
    first, second = put(), put(data=b"two")
    third = put(data=b"three")
    catalog.delete(Ref("k", version=2))
    catalog.promote(first, "v1", immutable=True)
    catalog.promote(second, "prod")
    catalog.delete(Ref("k"), by="ann")
    assert catalog.find(Ref("k", alias="prod")) is None
    assert refs(catalog.undelete(Ref("k"), by="bob")) == ["k@1", "k@0"]
    assert refs(catalog.versions("k")) == ["k@1", "k@0"]
    assert catalog.find(Ref("k", alias="prod")).blob.version == 1
    assert [move["by"] for move in catalog.alias_history("k", "prod")] == ["bob", "ann", ""]
    with pytest.raises(ConflictError):
        catalog.promote(second, "v1")
    assert refs(catalog.undelete(Ref(id=third.id))) == ["k@2"]
    assert put(data=b"four").version == 3
    assert catalog.check() == []


def test_one_version_of_a_deleted_key_comes_back_alone(catalog, put):
    first, _ = put(), put(data=b"two")
    catalog.promote(first, "prod")
    catalog.delete(Ref("k"))
    assert refs(catalog.undelete(Ref("k", version=1))) == ["k@1"]
    assert refs(catalog.versions("k")) == ["k@1"]
    assert catalog.find(Ref("k", alias="prod")) is None
    assert catalog.check() == []
    assert refs(catalog.undelete(Ref("k", version=0))) == ["k@0"]
    assert catalog.find(Ref("k", alias="prod")) is None


def test_a_key_without_versions_gets_back_what_was_dropped_last(catalog, put, clock):
    first, second, third = put(), put(data=b"two"), put(data=b"three")
    catalog.drop([first.id])
    clock.move(seconds=1)
    catalog.drop([second.id, third.id])
    assert refs(catalog.undelete(Ref("k"))) == ["k@2", "k@1"]
    assert catalog.find(Ref("k")).blob.version == 2


def test_what_is_not_dropped_cannot_be_brought_back(catalog, put):
    blob = put()
    for ref in (Ref("k"), Ref("k", version=0), Ref("k", version=9), Ref("no"), Ref(id=blob.id)):
        with pytest.raises(NotFoundError):
            catalog.undelete(ref)
    for text in ("k@prod", "k@latest", blob.digest):
        with pytest.raises(InvalidInputError):
            catalog.undelete(Ref.parse(text))


def test_a_name_that_lives_again_is_not_overwritten(catalog, put):
    old = put()
    catalog.delete(Ref("k"))
    new = put(data=b"new")
    for ref in (Ref("k"), Ref(id=old.id)):
        with pytest.raises(ConflictError):
            catalog.undelete(ref)
    assert catalog.find(Ref("k")).blob.id == new.id
    catalog.delete(Ref("k"))
    assert catalog.undelete(Ref(id=old.id))[0].id == old.id
    with pytest.raises(ConflictError):
        catalog.undelete(Ref(id=new.id))


def test_the_last_life_of_a_name_comes_back(catalog, put):
    put()
    catalog.delete(Ref("k"))
    second = put(data=b"new")
    catalog.delete(Ref("k"))
    assert catalog.undelete(Ref("k")) == [second]


def test_it_is_too_late_once_a_payload_was_condemned(catalog, put, clock):
    kept, _ = put("a", b"shared"), put("k", b"shared")
    put("k", b"alone")
    catalog.delete(Ref("k"))
    clock.move(hours=23)
    assert collect(catalog) == 0
    clock.move(hours=2)
    assert catalog.condemned(grace=GRACE, limit=100, dry_run=True) != []
    assert refs(catalog.undelete(Ref("k"))) == ["k@1", "k@0"]
    catalog.delete(Ref("k"))
    clock.move(hours=25)
    assert collect(catalog) == 1
    assert refs(catalog.undelete(Ref("k"))) == ["k@0"]
    with pytest.raises(NotFoundError, match="collected"):
        catalog.undelete(Ref("k", version=1))
    assert data_of(catalog, "k@0") == data_of(catalog, "a@0") == b"shared"
    assert catalog.find(Ref("a")).blob == kept
    assert catalog.check() == []


def test_what_came_back_has_the_full_grace_again(catalog, put, clock):
    put()
    catalog.delete(Ref("k"))
    clock.move(hours=25)
    listed = catalog.condemned(grace=GRACE, limit=100, dry_run=True)
    assert len(listed) == 1
    catalog.undelete(Ref("k"))
    assert collect(catalog) == 0
    catalog.delete(Ref("k"))
    assert collect(catalog) == 0


def test_a_version_given_up_by_history_false_can_be_brought_back(catalog, put):
    put(history=False)
    put(data=b"two", history=False)
    assert refs(catalog.versions("k")) == ["k@1"]
    assert refs(catalog.undelete(Ref("k", version=0))) == ["k@0"]
    catalog.delete(Ref("k"))
    assert refs(catalog.undelete(Ref("k"))) == ["k@1", "k@0"]


def test_an_entry_is_served_again_with_its_version(catalog, put, make):
    put(entry=make.entry("f"))
    catalog.delete(Ref("k"))
    assert catalog.entry("fb1:f") is None
    assert catalog.cache_size() == 0
    catalog.undelete(Ref("k"))
    assert catalog.entry("fb1:f") is not None
    assert catalog.cache_size() == 3


def test_a_version_with_parts_comes_back_whole_or_not_at_all(catalog, make, clock):
    parts = (make.part(b"manifest"), make.part(b"file", "a"), make.part(b"shared", "b"))
    catalog.commit(make.draft("k", parts=parts))
    catalog.commit(make.draft("other", b"shared"))
    catalog.delete(Ref("k"))
    assert len(catalog.undelete(Ref("k"))) == 1
    assert [p.part for p in catalog.payloads(catalog.find(Ref("k")).blob.id)] == ["", "a", "b"]
    catalog.delete(Ref("k"))
    clock.move(days=2)
    assert collect(catalog) == 2
    with pytest.raises(NotFoundError):
        catalog.undelete(Ref("k"))
    assert catalog.check() == []


def test_a_version_without_payload_can_always_be_brought_back(catalog, make, clock):
    catalog.commit(make.draft("k", parts=(), external="s3://elsewhere/x"))
    catalog.delete(Ref("k"))
    clock.move(days=99)
    assert collect(catalog, timedelta()) == 0
    assert refs(catalog.undelete(Ref("k"))) == ["k@0"]

"""Objects: lazy values, classes that say what their fields are, and what is refused."""

from __future__ import annotations

import datetime as dt
import functools
import socket
import threading
from typing import Any

import pytest
from samples import Color, Config, Keyed, Plain, Slotted

from flowblob.errors import InvalidInputError
from flowblob.keys import identify_value, portable_digest, value_digest


class Lazy:
    __flowblob_lazy__ = True

    def __init__(self, value: object, digest: str | None = None) -> None:
        self.value, self.digest, self.loads = value, digest, 0

    def value_digest(self) -> str | None:
        return self.digest

    def load(self) -> object:
        self.loads += 1
        return self.value


def test_attributes_count_by_name_and_not_by_the_order_of_setting() -> None:
    assert value_digest(Plain(a=1, b=2)) == value_digest(Plain(b=2, a=1))


def test_keywords_of_a_partial_count_by_name() -> None:
    one = functools.partial(dict, a=1, b=2)
    assert value_digest(one) == value_digest(functools.partial(dict, b=2, a=1))


def test_what_a_cached_property_left_behind_does_not_count() -> None:
    class Circle:
        def __init__(self) -> None:
            self.radius = 2

        @functools.cached_property
        def area(self) -> int:
            return self.radius**2

    used = Circle()
    assert used.area == 4
    assert value_digest(used) == value_digest(Circle())


def test_a_dataclass_counts_by_what_was_added_to_it_too() -> None:
    one, other = Config(1.0), Config(1.0)
    other.__dict__["extra"] = 1
    assert value_digest(one) != value_digest(other)


def test_a_tree_whose_nodes_know_their_parent_has_a_digest() -> None:
    def tree(leaf: int) -> Plain:
        root = Plain(children=[], parent=None)
        root.children += [Plain(children=[], parent=root, leaf=at + leaf) for at in range(50)]
        return root

    assert value_digest(tree(0)) == value_digest(tree(0))
    assert value_digest(tree(0)) != value_digest(tree(1))


def test_a_dense_graph_has_a_digest_in_linear_time() -> None:
    nodes = [Plain(name=at, near=[]) for at in range(60)]
    for node in nodes:
        node.near += nodes
    assert value_digest(nodes) == value_digest(nodes)


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        value_digest(value)
    while value:  # a recursive release would overflow as well
        value = value.pop()


@pytest.mark.parametrize(
    "make",
    [
        lambda: (item for item in "ab"),
        lambda: iter([1]),
        lambda: map(str, [1]),
        lambda: zip([1], [2], strict=True),
        lambda: enumerate([1]),
        threading.Lock,
        threading.RLock,
        threading.Event,
        socket.socket,
        object,
        lambda: Plain(lock=threading.Lock()),
        lambda: [threading.Lock()],
        lambda: Keyed(repr(object())),
    ],
)
def test_what_has_no_lasting_identity_is_refused(make: Any) -> None:
    value = make()
    with pytest.raises(InvalidInputError, match="cannot be part of a cache key"):
        value_digest(value)
    if isinstance(value, socket.socket):
        value.close()


def test_an_open_file_is_refused(tmp_path: Any) -> None:
    (tmp_path / "a").write_text("a")
    with (tmp_path / "a").open() as file, pytest.raises(InvalidInputError, match="uses it up"):
        value_digest({"file": file})


def test_a_lazy_value_counts_as_what_it_stands_for() -> None:
    for value in ([1, 2], "text", {"a": {1}}, b"x" * 100_000):
        lazy = Lazy(value, value_digest(value))
        assert value_digest(lazy) == value_digest(value)
        assert lazy.loads == 0


def test_a_lazy_value_without_a_digest_is_loaded() -> None:
    lazy = Lazy([1, 2])
    assert value_digest(lazy) == value_digest([1, 2])
    assert lazy.loads == 1


def test_a_kept_digest_in_which_code_counts_is_computed_again() -> None:
    lazy = Lazy(Config(1.0), "b3c:" + "0" * 64)
    assert value_digest(lazy) == value_digest(Config(1.0))
    assert lazy.loads == 1


def test_only_values_without_code_of_the_user_are_portable() -> None:
    assert identify_value([1, dt.date(2020, 1, 1)]).portable
    assert portable_digest([1]) == value_digest([1])
    for value in (Config(1.0), [Plain()], len.__call__ and (lambda: 1), Color.RED, Config):
        assert not identify_value(value).portable
        assert portable_digest(value) == ""
        assert value_digest(value).startswith("b3c:")
    assert portable_digest(threading.Lock()) == ""


def test_an_object_with_a_key_of_its_own_counts_by_it() -> None:
    assert value_digest(Keyed([1])) == value_digest(Keyed([1]))
    assert value_digest(Keyed([1])) != value_digest([1])


def test_a_library_object_without_a_rule_is_named_in_a_warning() -> None:
    found = identify_value(__import__("email.message").message.Message())
    assert "email.message.Message counts by its pickled state" in found.warnings[0]


def test_an_exact_value_brings_no_warning() -> None:
    values = [Config(1.0), Slotted(1.0), Plain(a=1), Color.RED, dt.date(2020, 1, 1)]
    assert identify_value(values).warnings == ()


def test_models_of_pydantic_count_by_all_they_hold() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        x: int = 1

    class Outer(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        model_config = pydantic.ConfigDict(extra="allow")
        inner: Inner = Inner()
        tags: set[str] = pydantic.Field(default_factory=set)
        _hidden: int = pydantic.PrivateAttr(default=1)

    hidden = Outer(x=1)
    hidden._hidden = 2
    values = [
        Outer(),
        Outer(inner=Inner()),
        Outer(inner=Inner(x=2)),
        Outer(tags={"a", "b"}),
        Outer(x=1),
        hidden,
        Inner(),
    ]
    assert len({value_digest(value) for value in values}) == len(values)
    assert value_digest(Outer(tags={"a", "b"})) == value_digest(Outer(tags={"b", "a"}))
    assert [identify_value(value).warnings for value in values] == [()] * len(values)


def test_classes_of_attrs_count_by_their_fields() -> None:
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class Point:
        x: int
        y: int = 0

    assert value_digest(Point(1)) == value_digest(Point(1, 0))
    assert value_digest(Point(1)) != value_digest(Point(2))
    assert not any("pickled" in text for text in identify_value(Point(1)).warnings)


def test_generators_of_random_numbers_count_by_their_state() -> None:
    random = pytest.importorskip("numpy.random")
    one, same, other = (random.default_rng(seed) for seed in (1, 1, 2))
    assert value_digest(one) == value_digest(same)
    assert value_digest(one) != value_digest(other)
    one.random()
    assert value_digest(one) != value_digest(same)

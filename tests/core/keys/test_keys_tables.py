"""Rare kinds of columns, and tables that other packages define."""

from __future__ import annotations

from typing import Any

import pytest

from flowblob.keys import identify_value, value_digest

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def test_rare_columns_of_pandas_are_told_apart() -> None:
    columns = [
        pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
        pd.arrays.IntervalArray.from_breaks([0, 1, 2], closed="left"),
        pd.arrays.IntervalArray.from_breaks([0, 1, 3]),
        pd.arrays.SparseArray([0, 1]),
        pd.arrays.SparseArray([0, 1], fill_value=1),
        pd.array(["a", "b"], dtype="string[python]"),
        pd.array(["a", None], dtype="string[python]"),
        pd.array([1.5, None], dtype="Float64"),
        pd.array([1.5, 0], dtype="Float64"),
        pd.period_range("2020", periods=2, freq="D").array,
        pd.period_range("2020", periods=2, freq="M").array,
        pd.to_datetime(["2020", None]).array,
    ]
    values = [*columns, *(pd.Series(column) for column in columns)]
    values += [column.dtype for column in columns[:2]]
    assert len({value_digest(value) for value in values}) == len(values)
    assert [value_digest(value[:1]) for value in columns] == [
        value_digest(value[:1].copy()) for value in columns
    ]


class Money(pd.api.extensions.ExtensionDtype):  # type: ignore[misc,name-defined]
    name = "money"
    type = int

    @classmethod
    def construct_array_type(cls) -> type:
        return Purse


class Purse(pd.api.extensions.ExtensionArray):  # type: ignore[misc,name-defined]
    dtype = Money()

    def __init__(self, coins: list[int], currency: str) -> None:
        self.coins, self.currency = coins, currency

    def __len__(self) -> int:
        return len(self.coins)

    def __getitem__(self, at: Any) -> Any:
        return self.coins[at] if isinstance(at, int) else Purse(self.coins[at], self.currency)

    def copy(self) -> Purse:
        return Purse(list(self.coins), self.currency)


def test_a_column_of_another_package_counts_by_all_it_keeps() -> None:
    euro, dollar = Purse([1, 2], "EUR"), Purse([1, 2], "USD")
    assert value_digest(euro) == value_digest(Purse([1, 2], "EUR"))
    assert value_digest(euro) != value_digest(dollar)
    frames = [pd.DataFrame({"a": purse}) for purse in (euro, dollar)]
    assert value_digest(frames[0]) == value_digest(frames[0].copy())
    assert value_digest(frames[0]) != value_digest(frames[1])


def test_text_of_every_kind_is_told_apart() -> None:
    kinds = (
        object,
        pd.StringDtype("python"),
        pd.StringDtype("python", na_value=np.nan),
        pd.StringDtype("pyarrow"),
        pd.StringDtype("pyarrow", na_value=np.nan),
    )
    frames = [pd.DataFrame({"a": pd.Series(["x", "y"], dtype=kind)}) for kind in kinds]
    assert len({value_digest(frame) for frame in frames}) == len(kinds)
    assert [value_digest(frame.copy()) for frame in frames] == list(map(value_digest, frames))


def test_objects_in_polars_count_by_value() -> None:
    one = pl.Series("a", [{1, 2}, None], dtype=pl.Object)
    other = pl.Series("a", [{2, 1}, None], dtype=pl.Object)
    assert value_digest(one) == value_digest(other)
    assert value_digest(one) != value_digest(pl.Series("a", [{3}, None], dtype=pl.Object))


def test_polars_without_arrow_counts_by_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    one = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    assert value_digest(one) == value_digest(one.clone())
    assert value_digest(one) != value_digest(one.with_columns(a=pl.Series([1, 2])))


def test_columns_that_are_all_of_one_kind_bring_no_warnings() -> None:
    frame = pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])})
    assert identify_value(frame).warnings == ()


def test_a_wide_frame_is_the_same_by_either_way_to_its_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = pd.DataFrame({"a": [1], "b": ["x"], "c": pd.to_datetime(["2020"])})
    before = value_digest(frame)
    monkeypatch.setattr(pd.DataFrame, "_iter_column_arrays", None)
    assert value_digest(frame) == before

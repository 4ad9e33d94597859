"""pandas frames and series as bare Arrow IPC files, where Arrow gives them back exactly."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from flowblob.abc import Reader, Writer
from flowblob.errors import SerializationError
from flowblob.serializers import ipc
from flowblob.serializers.fidelity import fits
from flowblob.serializers.framing import read, write
from flowblob.serializers.plain import ExactSerializer

_SERIES = "values"


class PandasSerializer(ExactSerializer):
    """A pandas DataFrame."""

    id: ClassVar[str] = "pandas"
    media_type: ClassVar[str] = ipc.MEDIA_TYPE

    def accepts(self, value: Any) -> bool:
        pandas = sys.modules.get("pandas")
        # pandas has loaded pyarrow if it is installed; without it, frames are pickled.
        if pandas is None or ipc.pyarrow_if_loaded() is None or type(value) is not pandas.DataFrame:
            return False
        return fits(value)

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        write(value, writer, {})

    def load(self, reader: Reader) -> Any:
        return read(reader.view(), is_foreign=reader.is_foreign)[0]


class PandasSeriesSerializer(PandasSerializer):
    """A pandas Series, as a frame of one column."""

    id = "pandas-series"

    def accepts(self, value: Any) -> bool:
        pandas = sys.modules.get("pandas")
        if pandas is None or ipc.pyarrow_if_loaded() is None or type(value) is not pandas.Series:
            return False
        return type(value.name) in (str, int, type(None)) and fits(_framed(value))

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        write(_framed(value), writer, {"name": value.name})

    def load(self, reader: Reader) -> Any:
        frame, meta = read(reader.view(), is_foreign=reader.is_foreign)
        if "name" not in meta or frame.shape[1] != 1:
            raise SerializationError("The stored series cannot be read: the file holds a frame")
        series = frame.iloc[:, 0]
        series.name = meta["name"]
        series.attrs = dict(frame.attrs)
        return series


def _framed(series: Any) -> Any:
    name = series.name
    frame = series.to_frame(name if type(name) is str and name else _SERIES)
    frame.attrs = dict(series.attrs)
    return frame

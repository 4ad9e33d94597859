from __future__ import annotations

import dataclasses
import pickle
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from flowblob import Ref, serializers
from flowblob.errors import SerializationError
from flowblob.model import Run

PICKLE = serializers.by_id("pickle5")


@dataclasses.dataclass
class Model:
    name: str
    weights: Any = None


def footer(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Read the container as its documentation has it, without the code under test."""
    length, count, version, magic = struct.unpack("<QQI12s", data[-32:])
    assert (version, magic) == (1, b"flowblob-pk5")
    index = data[-32 - 16 * count : -32]
    return length, [struct.unpack_from("<QQ", index, 16 * n) for n in range(count)]


def test_any_object_comes_back(there_and_back: Any) -> None:
    value = [Model("a", {1, 2}), Ref("key", version=3), Run(run_id="r"), 1j, type, len]
    assert there_and_back(value) == ("pickle5", value)


def test_the_stream_is_a_pickle_and_large_buffers_stand_aligned_beside_it(dump: Any) -> None:
    numpy = pytest.importorskip("numpy")
    large, small = numpy.arange(1000.0), numpy.arange(3.0)
    data = bytes(dump({"large": large, "small": small, "again": large}).data)
    length, ranges = footer(data)
    assert [start % 64 for start, _ in ranges] == [0]
    buffers = [data[start : start + size] for start, size in ranges]
    assert buffers == [large.tobytes()]
    assert len(data) % 16 == 0
    found = pickle.loads(data[:length], buffers=buffers)
    assert found["large"].tolist() == large.tolist()
    assert found["again"] is found["large"]


def test_arrays_come_back_writable_over_the_mapping(dump: Any) -> None:
    numpy = pytest.importorskip("numpy")
    written = dump({"c": numpy.ones(1000), "f": numpy.ones((30, 40), order="F")})
    memory = memoryview(bytearray(written.data))

    class Reader:
        def view(self) -> memoryview:
            return memory

    found = PICKLE.load(Reader())  # type: ignore[arg-type]
    for array in found.values():
        assert array.flags.writeable
        assert numpy.shares_memory(array, numpy.frombuffer(memory, numpy.uint8))
    assert found["f"].flags.f_contiguous


def test_read_only_buffers_stay_read_only(there_and_back: Any) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1000.0)
    array.flags.writeable = False
    assert not there_and_back([array])[1][0].flags.writeable


@pytest.mark.parametrize(
    "view",
    [
        memoryview(b"abc"),
        memoryview(b""),
        memoryview(bytearray(range(8))).cast("H"),
        memoryview(bytearray(range(24))).cast("B", (2, 3, 4)),
        memoryview(bytes(48)).cast("d", (2, 3)),
        memoryview(b"ab").cast("c"),
    ],
    ids=["bytes", "empty", "shorts", "shape", "doubles", "chars"],
)
def test_a_memoryview_inside_a_value_keeps_format_and_shape(view: Any, there_and_back: Any) -> None:
    _, (found,) = there_and_back([view])
    assert type(found) is memoryview
    assert (found.format, found.shape, found.readonly) == (view.format, view.shape, view.readonly)
    assert found.tobytes() == view.tobytes()


def test_a_memoryview_of_another_format_at_the_top_is_kept(there_and_back: Any) -> None:
    view = memoryview(bytearray(16)).cast("d")
    chosen, found = there_and_back(view)
    assert (chosen, found.format, found.tolist()) == ("pickle5", "d", [0.0, 0.0])


def test_functions_without_an_importable_name_come_back(there_and_back: Any) -> None:
    offset = 3

    def add(number: int) -> int:
        return number + offset

    _, found = there_and_back({"f": lambda n: add(n) * 2})
    assert found["f"](1) == 8


def run(script: str, *arguments: str) -> str:
    code = textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WRITE = """
import sys
from flowblob import serializers
class Out:
    def __init__(self): self.data = bytearray()
    def write(self, data): self.data += memoryview(data).cast("B"); return len(data)
def put(value):
    out = Out()
    serializers.by_id("pickle5").dump(value, out)
    open(sys.argv[1], "wb").write(out.data)
"""


def test_classes_of_main_go_by_value(tmp_path: Path, reader: Any) -> None:
    script = WRITE + textwrap.dedent("""
        class Scaler:
            def __init__(self, by): self.by = by
            def __call__(self, n): return n * self.by
        put(Scaler(4))
    """)
    run(script, str(tmp_path / "payload"))
    found = PICKLE.load(reader((tmp_path / "payload").read_bytes()))
    assert found(2) == 8


def test_classes_of_a_module_that_nobody_else_can_import_go_by_value(
    tmp_path: Path, reader: Any
) -> None:
    (tmp_path / "dag.py").write_text("class Row:\n    def __init__(self, n): self.n = n\n")
    script = WRITE + textwrap.dedent("""
        import importlib.util
        spec = importlib.util.spec_from_file_location("unusual_prefix_1_dag", sys.argv[2])
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        put([module.Row(7), module.Row(8)])
    """)
    run(script, str(tmp_path / "payload"), str(tmp_path / "dag.py"))
    first, second = PICKLE.load(reader((tmp_path / "payload").read_bytes()))
    assert (first.n, second.n) == (7, 8)
    assert type(first) is type(second)


MAIN = (
    WRITE
    + """
import dataclasses, enum
@dataclasses.dataclass
class Row:
    n: int
class Colour(enum.Enum):
    RED = 1
    def twin(self): return Colour.RED
class Node:
    def other(self): return Node(), Row(1)
def get():
    class Reader:
        def view(self): return memoryview(bytearray(open(sys.argv[1], "rb").read()))
    return serializers.by_id("pickle5").load(Reader())
if len(sys.argv) > 2:
    put([Row(1), Colour.RED, Node()])
else:
    row, colour, node = get()
    print(row == Row(1), colour is Colour.RED, colour.twin() is Colour.RED, type(node) is Node)
"""
)


def test_a_script_that_runs_again_finds_its_own_classes(tmp_path: Path, reader: Any) -> None:
    (tmp_path / "pipeline.py").write_text(MAIN)
    for arguments in (["payload", "put"], ["payload"]):
        done = subprocess.run(
            [sys.executable, "pipeline.py", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"] * 4
    row, colour, node = PICKLE.load(reader((tmp_path / "payload").read_bytes()))
    assert (row.n, colour.name, colour.twin()) == (1, "RED", colour)
    assert type(node.other()[0]) is type(node)


def test_another_script_with_a_class_of_the_same_name_is_not_misled(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(MAIN)
    (tmp_path / "second.py").write_text(
        MAIN.replace("n: int", "m: int").replace("Row(1)", "Row(2)")
    )
    subprocess.run([sys.executable, "first.py", "payload", "put"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "second.py", "payload"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", "True", "True"]


def test_a_class_that_cannot_be_stored_by_value_is_stored_by_name(
    tmp_path: Path, reader: Any
) -> None:
    script = (
        WRITE
        + """
import threading
class Guarded:
    lock = threading.Lock()
put(Guarded())
print(type(serializers.by_id("pickle5").load(type("R", (), {
    "view": lambda self: memoryview(bytearray(open(sys.argv[1], "rb").read()))})())) is Guarded)
"""
    )
    assert run(script, str(tmp_path / "payload")) == "True"
    with pytest.raises(SerializationError, match=r"__main__\.Guarded, which does not exist here"):
        PICKLE.load(reader((tmp_path / "payload").read_bytes()))


def test_classes_of_an_importable_module_go_by_name(dump: Any) -> None:
    assert b"SimpleNamespace" in dump([types.SimpleNamespace(a=1)]).data
    assert len(dump([threading.Event]).data) < 200


def test_a_missing_module_is_named(tmp_path: Path, reader: Any) -> None:
    (tmp_path / "elsewhere.py").write_text("class Row: pass\n")
    script = WRITE + "sys.path.insert(0, sys.argv[2]); import elsewhere; put(elsewhere.Row())"
    run(script, str(tmp_path / "payload"), str(tmp_path))
    with pytest.raises(SerializationError, match=r"module 'elsewhere' \(elsewhere.Row\)"):
        PICKLE.load(reader((tmp_path / "payload").read_bytes()))


def test_a_missing_class_is_named(dump: Any, reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written = dump(Model("a"))
    monkeypatch.delattr(sys.modules[__name__], "Model")
    with pytest.raises(SerializationError, match=rf"{__name__}.Model, which does not exist"):
        PICKLE.load(reader(written.data))


class Picky:
    def __init__(self) -> None:
        self.a = 1

    def __setstate__(self, state: Any) -> None:
        raise KeyError("moved")


def test_a_class_that_refuses_to_load_is_one_error(dump: Any, reader: Any) -> None:
    with pytest.raises(
        SerializationError, match="cannot build the stored value: KeyError: 'moved'"
    ):
        PICKLE.load(reader(dump(Picky()).data))


class Evasive(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("no")

    def __reduce__(self) -> Any:
        raise OSError("gone")


def test_an_error_of_the_value_itself_is_told(dump: Any) -> None:
    with pytest.raises(SerializationError, match="Evasive, which cannot be stored: gone"):
        dump([Evasive()])


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def _unpicklable() -> dict[str, tuple[Any, str]]:
    lock = threading.Lock()
    return {
        "lock": (lock, "value is a _thread.lock"),
        "in a dict": ({"a": 1, "conn": lock}, r"value\['conn'\] is a _thread.lock"),
        "deep": ({"a": [1, {"b": (2, lock)}]}, r"value\['a'\]\[1\]\['b'\]\[1\] is a _thread.lock"),
        "attribute": ([Model("m", {"k": lock})], r"value\[0\].weights\['k'\] is a _thread.lock"),
        "slot": (Slotted([lock]), r"value.inner\[0\] is a _thread.lock"),
        "generator": ({"g": (n for n in ())}, r"value\['g'\] is a generator"),
        "key": ({lock: 1}, "value key <lock> is a _thread.lock"),
        "set": ({lock}, "value item <lock> is a _thread.lock"),
    }


@pytest.mark.parametrize("case", _unpicklable())
def test_the_part_that_cannot_be_pickled_is_named(case: str, dump: Any) -> None:
    value, pattern = _unpicklable()[case]
    with pytest.raises(SerializationError, match=pattern):
        dump(value)


def test_an_open_socket_is_named(dump: Any) -> None:
    with socket.socket() as connection, pytest.raises(SerializationError, match=r"value\['s'\]"):
        dump({"s": connection})


def test_depth_without_end_is_one_error(dump: Any) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        dump(deep)


def test_an_error_of_the_writer_passes_unchanged() -> None:
    class Full:
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        PICKLE.dump([1j], Full())  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [0, 1, 16, 31, 32, 40])
def test_a_container_cut_short_is_one_error(cut: int, dump: Any, reader: Any) -> None:
    data = bytes(dump([1j, bytearray(1000)]).data)
    for damaged in (data[:-cut] if cut else b"", data[cut:]):
        if damaged != data:
            with pytest.raises(SerializationError):
                PICKLE.load(reader(damaged))


def test_a_buffer_outside_of_the_container_is_refused(reader: Any) -> None:
    stream = pickle.dumps(1, 5)
    for place in ((0, 1), (len(stream), 1 << 40), (1 << 63, 1 << 63)):
        data = (
            stream
            + struct.pack("<QQ", *place)
            + struct.pack("<QQI12s", len(stream), 1, 1, b"flowblob-pk5")
        )
        with pytest.raises(SerializationError, match="outside"):
            PICKLE.load(reader(data))
    data = stream + struct.pack("<QQI12s", len(stream), 1 << 60, 1, b"flowblob-pk5")
    with pytest.raises(SerializationError, match="larger than itself"):
        PICKLE.load(reader(data))


def test_a_newer_version_of_the_container_says_so(reader: Any) -> None:
    data = b"." + struct.pack("<QQI12s", 1, 0, 2, b"flowblob-pk5")
    with pytest.raises(SerializationError, match="version 2; upgrade"):
        PICKLE.load(reader(data))

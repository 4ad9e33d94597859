from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Any

import pytest

from flowblob import serializers
from flowblob.errors import SerializationError

torch: Any = pytest.importorskip("torch")
np: Any = pytest.importorskip("numpy")

TENSORS = {
    "float32": torch.arange(6.0).reshape(2, 3),
    "bfloat16": torch.arange(3, dtype=torch.bfloat16),
    "bool": torch.tensor([True, False, True]),
    "int8": torch.arange(3, dtype=torch.int8),
    "float64": torch.tensor(1.5, dtype=torch.float64),
    "empty": torch.empty(0, 3),
    "λ": torch.zeros(1),
}


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    assert (left.dtype, left.shape, left.stride()) == (right.dtype, right.shape, right.stride())
    assert torch.equal(left, right)


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_dict_of_tensors_is_a_safetensors_file(kind: Any, there_and_back: Any, dump: Any) -> None:
    value = kind(TENSORS)
    chosen, found = there_and_back(value)
    assert (chosen, type(found), list(found)) == ("safetensors", kind, list(value))
    for name, tensor in value.items():
        assert_same(found[name], tensor)
    found["float32"][0, 0] = 7.0
    other = pytest.importorskip("safetensors.torch").load(bytes(dump(value).data))
    assert {name: tensor.tolist() for name, tensor in other.items()} == {
        name: tensor.tolist() for name, tensor in value.items()
    }


def test_a_state_dict_keeps_its_versions(there_and_back: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = model.state_dict()
    chosen, found = there_and_back(state)
    assert chosen == "safetensors"
    assert type(found) is OrderedDict
    assert found._metadata == state._metadata
    assert type(found._metadata) is OrderedDict
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    fresh.load_state_dict(found)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True)
    )


def test_a_tensor_alone_comes_back(there_and_back: Any) -> None:
    chosen, found = there_and_back(TENSORS["float32"])
    assert chosen == "safetensors"
    assert_same(found, TENSORS["float32"])


def _named() -> Any:
    tensor = torch.zeros(2)
    tensor.label = "x"
    return tensor


tied = torch.zeros(3)
OTHERS = {
    "parameter": {"a": torch.nn.Parameter(torch.zeros(2))},
    "gradient": torch.zeros(2, requires_grad=True),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "complex": torch.zeros(2, dtype=torch.complex64),
    "sparse": torch.eye(2).to_sparse(),
    "attribute": _named(),
    "tied": {"a": tied, "b": tied.view(3, 1)},
    "number": {"a": torch.zeros(1), "b": 1},
    "other key": {1: torch.zeros(1)},
    "reserved": {"__metadata__": torch.zeros(1)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_safetensors_would_flatten_is_pickled(name: str, there_and_back: Any) -> None:
    chosen, found = there_and_back(OTHERS[name])
    assert chosen == "pickle5"
    assert repr(found) == repr(OTHERS[name])


def test_tied_weights_stay_tied(there_and_back: Any) -> None:
    found = there_and_back({"a": tied, "b": tied.view(3, 1)})[1]
    found["a"][1] = 5
    assert found["b"].tolist() == [[0], [5], [0]]


def test_a_model_is_pickled_with_its_weights_beside_the_stream(
    dump: Any, there_and_back: Any
) -> None:
    model = torch.nn.Linear(100, 100)
    data = bytes(dump(model).data)
    length, count, _, _ = struct.unpack("<QQI12s", data[-32:])
    assert (length < 4096, count) == (True, 1)
    found = there_and_back(model)[1]
    assert torch.equal(found.weight, model.weight)
    assert type(found.weight) is torch.nn.Parameter
    assert found.weight.requires_grad
    found(torch.zeros(100)).sum().backward()


def test_tensors_come_back_without_a_copy(dump: Any) -> None:
    for value in ({"a": torch.ones(1000)}, [torch.ones(1000)]):
        memory = memoryview(bytearray(dump(value).data))

        class Reader:
            def view(self, memory: memoryview = memory) -> memoryview:
                return memory

        chosen = serializers.for_value(value)
        found = chosen.load(Reader())  # type: ignore[arg-type]
        tensor = found["a"] if isinstance(found, dict) else found[0]
        assert np.shares_memory(tensor.numpy(), np.frombuffer(memory, np.uint8))


def _file(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 8,
        _file(b"{"),
        _file(b"[]"),
        _file(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(4)),
        _file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', bytes(8)),
        _file(b'{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}', bytes(4)),
        _file(b'{"a":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        _file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}', bytes(4)),
    ],
)
def test_a_payload_that_is_no_tensor_is_one_error(payload: bytes, reader: Any) -> None:
    with pytest.raises(SerializationError, match="tensors cannot be read"):
        serializers.by_id("safetensors").load(reader(payload))

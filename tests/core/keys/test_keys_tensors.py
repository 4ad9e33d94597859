"""Tensors count by value, dtype and shape."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flowblob.errors import InvalidInputError
from flowblob.keys import identify_value, value_digest

torch: Any = pytest.importorskip("torch")
# Its forms of sparse, quantized and nested tensors announce that they may change.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def test_tensors_count_by_value_dtype_and_shape() -> None:
    base = torch.arange(6.0).reshape(2, 3)
    assert value_digest(base.T) == value_digest(base.T.contiguous())
    assert value_digest(base.bfloat16()) == value_digest(base.clone().bfloat16())
    different = [base, base.double(), base.reshape(3, 2), base.bfloat16(), base.to_sparse()]
    different += [base.clone().requires_grad_(), torch.nn.Parameter(base), base[:0], base.int()]
    different += [base.to_sparse_csr(), torch.quantize_per_tensor(base, 0.1, 0, torch.qint8)]
    different += [torch.nested.nested_tensor([base[0], base[1][:2]]), base[:, 1:], base.to_mkldnn()]
    different += [torch.ones(2).to(kind) for kind in (torch.float8_e4m3fn, torch.float8_e5m2)]
    different += [torch.float32, torch.float64, torch.device("cpu"), torch.strided, base.shape]
    found = [identify_value(value) for value in different]
    assert len({identity.digest for identity in found}) == len(different)
    assert all(identity.portable and not identity.warnings for identity in found)
    conjugate = torch.tensor([1 + 2j]).conj()
    assert value_digest(conjugate) == value_digest(torch.tensor([1 - 2j]))
    with pytest.raises(InvalidInputError, match="meta device"):
        value_digest(torch.empty(3, device="meta"))


def test_modules_of_torch_count_by_their_weights() -> None:
    one = torch.nn.Linear(2, 2)
    other = copy.deepcopy(one)
    assert value_digest(one) == value_digest(other)
    assert value_digest(one.state_dict()) == value_digest(other.state_dict())
    with torch.no_grad():
        other.weight += 1
    assert value_digest(one) != value_digest(other)
    assert value_digest(one.state_dict()) != value_digest(other.state_dict())

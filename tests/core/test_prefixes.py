"""What stands between a prefix and the text that follows on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowblob.checks import beyond

#: Text of whole characters, the rare ones among them often.
text = st.text(
    st.sampled_from("a\ud7ff\ue000\uffff\U00010000\U0010ffff") | st.characters(), max_size=5
)


@given(prefix=text, other=text)
def test_exactly_what_begins_with_a_prefix_lies_below_what_follows_on_it(
    prefix: str, other: str
) -> None:
    for candidate in (other, prefix + other):
        lies_between = prefix <= candidate < beyond(prefix)
        assert lies_between == candidate.startswith(prefix)


@pytest.mark.parametrize("prefix", ["a", "\ud7ff", "\U0010ffff", "a\U0010ffff"])
def test_what_follows_is_text_that_every_engine_holds(prefix: str) -> None:
    assert beyond(prefix).encode()

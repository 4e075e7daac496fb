"""Nothing that a notebook says of a bundled sample changes by itself."""

from __future__ import annotations

import pytest

from tests.golden.pages import CASES, kept, page


@pytest.mark.slow
@pytest.mark.parametrize(("sample", "topic"), CASES, ids=lambda name: name)
def test_a_notebook_says_what_it_said(sample: str, topic: str) -> None:
    assert page(sample, topic) == kept(sample, topic).read_text()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node said, kept between the stages of a run."""

from __future__ import annotations

from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.answer import packed, unpacked
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(st.characters(codec=None)))
def test_an_answer_that_was_kept_is_the_same(text: str) -> None:
    """Python has a place even for bytes that are no UTF-8."""
    for said in (text, text + "\udcff"):
        assert unpacked(packed(said)) == said
        assert packed(said).isascii()

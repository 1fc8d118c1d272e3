"""A terminal that lacks letters is shown something for them, and no command ends by them."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.plain_text import json_for, speak_plainly
from app.cli.words import json_line

pytestmark = pytest.mark.fast


def shown(text: str, encoding: str, errors: str = "strict") -> bytes:
    out = io.BytesIO()
    stream = io.TextIOWrapper(out, encoding=encoding, errors=errors)
    speak_plainly(stream)
    stream.write(text)
    stream.flush()
    return out.getvalue()


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_our_own_signs_have_others_like_them(errors: str) -> None:
    assert shown("━━── 50% … ✓ ✗", "ascii", errors) == b"##-- 50% ~ + x"


def test_what_can_be_said_is_said_as_it_is() -> None:
    assert shown("Käse ✓", "latin-1") == "Käse +".encode("latin-1")
    assert shown("Käse ━ 猫", "utf-8") == "Käse ━ 猫".encode()


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["ascii", "latin-1", "utf-8", "cp1252"]),
)
def test_a_line_of_json_stays_what_it_says(text: str, encoding: str) -> None:
    line = json_for(json_line({"name": text}), encoding)
    assert json.loads(line.encode(encoding).decode(encoding)) == {"name": text}


def test_a_sign_in_a_line_of_json_is_data() -> None:
    assert json_for('"wait … ✓ é"', "latin-1") == r'"wait \u2026 \u2713 \u00e9"'
    assert json_for('"wait …"', None) == '"wait …"'


def test_how_somebody_chose_to_see_them_stays() -> None:
    assert shown("猫", "ascii", "replace") == b"?"

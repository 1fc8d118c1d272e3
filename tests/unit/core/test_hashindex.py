"""The flat index answers as a dict would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.core.hashindex import HashIndex

FINGERPRINTS = st.integers(1, 2**64 - 1)
# Some that share their low bits, so that they meet in one slot.
CLASHING = st.integers(0, 40).map(lambda n: (n << 40) | 5)


@given(st.lists(st.tuples(FINGERPRINTS | CLASHING, FINGERPRINTS)))
def test_it_answers_as_a_dict_would(shown: list[tuple[int, int]]) -> None:
    index, known = HashIndex(), dict[int, int]()
    for fingerprint, note in shown:
        assert index.first(fingerprint, note) == known.get(fingerprint, 0)
        known.setdefault(fingerprint, note)
    assert len(index) == len(known)


def test_it_still_knows_everyone_after_it_has_grown() -> None:
    index = HashIndex()
    fingerprints = [(n * 0x9E3779B97F4A7C15) % 2**64 or 1 for n in range(1, 5000)]
    for note, fingerprint in enumerate(fingerprints, start=1):
        assert index.first(fingerprint, note) == 0
    assert [index.first(fingerprint, 9) for fingerprint in fingerprints] == list(range(1, 5000))

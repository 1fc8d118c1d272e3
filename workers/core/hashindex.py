"""A map from 64-bit fingerprints to a 64-bit note on who showed them first, in two flat arrays.

A million entries cost 34 MB (a set of as many strings took 109-289 MB); the planner holds two of them.
"""

from __future__ import annotations

from array import array

_MIN_SLOTS = 1 << 10


class HashIndex:
    """Open addressing with linear probing; fingerprints and notes are never 0, which marks a free slot."""

    def __init__(self) -> None:
        self._mask = _MIN_SLOTS - 1
        self._hashes, self._notes = _zeros(_MIN_SLOTS), _zeros(_MIN_SLOTS)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def first(self, fingerprint: int, note: int) -> int:
        """The note left by whoever showed `fingerprint` before, or 0 after leaving `note`."""
        slot = self._slot(fingerprint)
        if self._hashes[slot]:
            return self._notes[slot]
        self._hashes[slot], self._notes[slot] = fingerprint, note
        self._count += 1
        if self._count * 2 > self._mask:
            self._grow()
        return 0

    def _slot(self, fingerprint: int) -> int:
        hashes, mask = self._hashes, self._mask
        slot = fingerprint & mask
        while hashes[slot] and hashes[slot] != fingerprint:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        old_hashes, old_notes = self._hashes, self._notes
        slots = (self._mask + 1) * 2
        self._mask = slots - 1
        self._hashes, self._notes = _zeros(slots), _zeros(slots)
        for fingerprint, note in zip(old_hashes, old_notes, strict=True):
            if fingerprint:
                slot = self._slot(fingerprint)
                self._hashes[slot], self._notes[slot] = fingerprint, note


def _zeros(slots: int) -> array[int]:
    return array("Q", bytes(8 * slots))

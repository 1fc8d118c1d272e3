"""Embeddings as pure functions of (model, input, seed): unit vectors, float32, the same in both encodings."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence

from blake3 import blake3

DEFAULT_DIMENSIONS = 256
MAX_DIMENSIONS = 4096


def embedding(model: str, text: str | Sequence[int], dimensions: int, seed: int) -> tuple[float, ...]:
    """A unit vector. A smaller one is the start of a larger one, scaled, as the provider's are.

    Args:
        text: a string, or token ids.
    """
    if isinstance(text, str):
        source = b"t" + text.encode("utf-8", "surrogatepass")
    else:
        source = b"i" + b",".join(b"%d" % token for token in text)
    digest = blake3(f"{seed}\0{model}\0".encode() + source).digest(length=2 * dimensions)
    raw = struct.unpack(f"<{dimensions}h", digest)
    scale = 1.0 / (math.hypot(*raw) or 1.0)
    # Through float32, so that JSON floats and base64 carry exactly the same numbers.
    return struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *[x * scale for x in raw]))


def as_base64(vector: Sequence[float]) -> str:
    """Little-endian float32, base64: what `encoding_format: base64` means."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")

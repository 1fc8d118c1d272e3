"""How large a context a request to Ollama needs. Pure.

Ollama gives a model a context of its own choosing (often 4,096 tokens, 2,048 in older versions, whatever the model
could read) and drops the beginning of a longer prompt without a word. Two things stop that:

- `truncate: false` and `shift: false` go with every request: a prompt that does not fit is then an error, and an
  answer that fills the context ends with `length` instead of pushing its own question out. Servers too old to
  know them ignore them.
- `options.num_ctx` is set where the prompt and its answer are estimated over 2,048 tokens, so that such a request
  is answered and not refused: the next power of two, never more than the model is known to have. Powers of two,
  because Ollama loads a model anew for each different context. Who sets `num_ctx` (null: the server's default)
  in `provider_options` decides alone; for a batch of very different lengths that saves the loading.

Embeddings are left alone: their models' contexts are small and set by the model, and `truncate: false` is enough.

Source: Ollama's published API document (`options`) and the request types of its official clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.core.messages import Call

_DEFAULT_CONTEXT_TOKENS = 2_048
# Prose has four bytes a token; code, numbers and Chinese three, and too little context refuses the request.
_BYTES_PER_TOKEN = 3
_TOKENS_PER_IMAGE = 768  # as Ollama itself counts one
# Room for an answer whose request names no cap; a cap is a bound, so a huge one is not kept free wholly.
_USUAL_ROOM_TOKENS, _LARGEST_ROOM_TOKENS = 1_024, 16_384


def context_tokens(body: Mapping[str, Any], payload_bytes: int, call: Call) -> int | None:
    """The num_ctx that this request needs; None to leave it to the server or to the caller."""
    given = call.provider_options.get("options")
    options = body.get("options") or {}
    if not isinstance(options, Mapping) or (isinstance(given, Mapping) and "num_ctx" in given):
        return None
    cap = options.get("num_predict")
    room = min(cap, _LARGEST_ROOM_TOKENS) if isinstance(cap, int) and cap > 0 else _USUAL_ROOM_TOKENS
    if payload_bytes // _BYTES_PER_TOKEN + room <= _DEFAULT_CONTEXT_TOKENS:
        return None
    images = _images(body)
    text_bytes = payload_bytes - sum(len(image) for image in images)
    needed = text_bytes // _BYTES_PER_TOKEN + _TOKENS_PER_IMAGE * len(images) + room
    if needed <= _DEFAULT_CONTEXT_TOKENS:
        return None
    return min(1 << (needed - 1).bit_length(), call.traits.context_tokens or 1 << 62)


def _images(body: Mapping[str, Any]) -> list[str]:
    """Every image's base64; the caller's own parts of the body may have any shape."""
    messages = body.get("messages")
    holders = [body, *(messages if isinstance(messages, list) else ())]
    lists = [each.get("images") for each in holders if isinstance(each, Mapping)]
    return [
        image for images in lists if isinstance(images, list) for image in images if isinstance(image, str)
    ]

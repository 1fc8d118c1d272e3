"""A create as it comes in and as it is answered; workers/creation.py makes the batch in between. Pure."""

from __future__ import annotations

from typing import Any

import blake3

from app.api.bodies import BatchForm
from workers.core.identity import canonical

Doc = dict[str, Any]


def request_hash(body: Doc) -> str:
    """Equal exactly when two creates ask for the same; the idempotency key itself does not count."""
    asked = {name: value for name, value in body.items() if name != "idempotency_key" and value is not None}
    return blake3.blake3(canonical(asked)).hexdigest(length=16)


def form_of(wanted: BatchForm) -> Doc:
    """The form of a batch as plain values, with its defaults."""
    return wanted.model_dump(include=set(BatchForm.model_fields))


def shown_to_its_maker(shown: Doc, doc: Doc) -> Doc:
    """The batch object in the answer to what has made it: the secret of its own webhook is there, and never again."""
    if doc.get("webhook"):
        shown["batchwright"]["webhook"] |= {"secret": doc["webhook"]["secret"]}
    return shown

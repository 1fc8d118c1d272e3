"""What helps after a failure: whether the same request may pass later, and a sentence for who has to decide. Pure.

The codes are those of the error file (core/errors.py, core/lines.py) and `http_<status>` for a provider's refusal.
"""

from __future__ import annotations

from typing import NamedTuple


class Hint(NamedTuple):
    """`retryable`: a retry may succeed with nothing changed."""

    retryable: bool
    text: str


_LATER = "The provider had trouble of its own; retry later."
_NETWORK = "No answer came over the network; retry, with a longer timeout for this provider if it is slow."
_KEY = "Give the provider a key that is valid and may use this model, then retry."
_MODEL = "Retry with a model that one of your providers offers."
_MEND = "The same request will be refused again; mend its line in a new input file."
_INPUT = "The line is no valid request; mend it in a new input file."
_CUT = "Retry with a model that reads longer inputs, or shorten the request in a new input file."

_BY_CODE: dict[str, Hint] = {
    "batch_cancelled": Hint(True, "It never ran, since the batch was cancelled; a retry runs it."),
    "batch_expired": Hint(
        True, "It never ran before the window's end; retry with a longer completion_window."
    ),
    "rate_limited": Hint(True, "The provider's limits were used up; retry later."),
    "http_429": Hint(True, "The provider's limits were used up; retry later."),
    "provider_unavailable": Hint(True, _LATER),
    "unusable_reply": Hint(True, _LATER),
    "http_408": Hint(True, _LATER),
    "http_409": Hint(True, _LATER),
    "timeout": Hint(True, _NETWORK),
    "connection_failed": Hint(True, _NETWORK),
    "schema_mismatch": Hint(
        True, "Answers differ from try to try; retry, with a stronger model if most of them fail."
    ),
    "provider_quota_exhausted": Hint(False, "Top up the account, or retry with another provider's model."),
    "http_402": Hint(False, "Top up the account, or retry with another provider's model."),
    "provider_key_refused": Hint(False, _KEY),
    "http_401": Hint(False, _KEY),
    "http_403": Hint(False, _KEY),
    "model_not_found": Hint(False, _MODEL),
    "http_404": Hint(False, _MODEL),
    "not_offered_by_provider": Hint(
        False, "Retry with a model whose provider offers what the request asks for."
    ),
    "unknown_price": Hint(False, "Set the model's price in [prices], or retry without max_cost_usd."),
    "context_length_exceeded": Hint(False, _CUT),
    "http_413": Hint(False, _CUT),
    "content_blocked": Hint(
        False, "A safety filter kept it back; change the prompt, or retry with another model."
    ),
    "body_too_large": Hint(False, "The answer passed the size limit; ask for less, in a new input file."),
    "unrecordable": Hint(False, "The answer came, but could not be stored; the worker's log says why."),
    "worker_crash": Hint(False, "Every worker that tried it ended; the workers' logs say why."),
    "internal_error": Hint(False, "A bug of the server; its log has the traceback."),
    "invalid_json_line": Hint(False, _INPUT),
    "missing_required_parameter": Hint(False, _INPUT),
    "invalid_type": Hint(False, _INPUT),
    "invalid_url": Hint(False, _INPUT),
    "invalid_method": Hint(False, _INPUT),
    "line_too_long": Hint(False, _INPUT),
    "streaming_unsupported": Hint(False, _INPUT),
    "duplicate_custom_id": Hint(False, "An earlier line has the same custom_id; no retry takes this one."),
}


KNOWN_CODES = tuple(_BY_CODE)


def hint_of(code: str, status: int | None) -> Hint:
    """What to do about failures of this code (`retrying.code_of`) and status."""
    known = _BY_CODE.get(code)
    if known is not None:
        return known
    return Hint(True, _LATER) if status is not None and status >= 500 else Hint(False, _MEND)

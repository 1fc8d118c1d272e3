"""What MongoDB says of documents it refuses can be logged: it names none of what is in them."""

from __future__ import annotations

import traceback
from unittest.mock import Mock

import pytest
from pymongo.errors import BulkWriteError, ConnectionFailure, PyMongoError

from workers.store.mongo import insert_missing, refuses_writes
from workers.store.results import Results

pytestmark = pytest.mark.fast
PROMPT = "what nobody may read"


def refusing(code: int) -> Mock:
    """A collection whose server takes no document."""
    problem = {"index": 0, "code": code, "errmsg": "no space left", "op": {"_id": "f/0", "data": PROMPT}}
    return Mock(
        insert_many=Mock(side_effect=BulkWriteError({"writeErrors": [problem], "writeConcernErrors": []}))
    )


def said(error: PyMongoError) -> str:
    return "".join(traceback.format_exception(error))


def test_a_refused_chunk_of_a_file_is_not_in_the_error() -> None:
    with pytest.raises(BulkWriteError) as caught:
        insert_missing(refusing(14031), [{"_id": "f/0", "data": PROMPT}])
    assert PROMPT not in said(caught.value)
    assert "no space left" in said(caught.value) and refuses_writes(caught.value)


def test_a_refused_answer_is_not_in_the_error() -> None:
    results = Results.__new__(Results)
    results._docs = refusing(14031)
    with pytest.raises(ConnectionFailure) as caught:
        results._insert([Mock()], [{"_id": "r", "body": PROMPT}])
    assert PROMPT not in said(caught.value)

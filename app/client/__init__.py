"""A typed client of our own HTTP API: the command line and the Python face are made of it.

    calls.py      PURE: every call as data (method, path, body, may it be repeated), every reply as a value
    models.py     PURE: the API's objects as frozen dataclasses
    errors.py     what the API or the way to it said, as UserError with a hint
    blocking.py   `Client`: one call after the other, over httpx
    concurrent.py `AsyncClient`: the same names, awaited
    transfer.py   bytes into a file beside the target, then one rename
    jsonl.py      PURE: bytes to lines, Python requests to input lines, output lines to results
    locate.py     which server, and with which key
    batches.py    `submit`, `Batch`; abatches.py: `asubmit`, `AsyncBatch`

It speaks HTTP and nothing else: whatever it can do, any other program can do too.
"""

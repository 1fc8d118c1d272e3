"""The HTTP API: the Files and Batch API as the official SDKs speak it, and our own few calls beside it.

    server -> application -> auth -> files | batches | operations -> services -> workers.store

door.py reads and checks what comes in by the models of bodies.py (pydantic, here and nowhere else), errors.py shapes
every refusal, creation.py turns a checked create into a batch document, uploading.py carries bytes into the store,
streaming.py out. document.py tells all of it as OpenAPI: spec.py on each route, shapes*.py for the replies.
Workers do everything that takes time: a create inserts one document and publishes one hint.
"""

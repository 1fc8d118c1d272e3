"""A real server that behaves like an OpenAI-compatible provider, for demos, benches and every test of ours.

    server.py     RSGI shell: sockets, sleeping, sending, the call log; nothing is decided here
    listening.py  the port: taken, asked until it answers, announced
    simulation.py one call decided: key, request, limits, fault, latency, answer -> `Plan`
    chat.py, embeddings.py, models.py, checks.py, errors.py   read and check a body as strictly as it does
    replies.py    the provider's JSON shapes, plain and streamed
    answers.py, schema.py, regex.py, vectors.py, usage.py, limits.py, faults.py   pure functions and values
    config.py     one frozen tree from flags and a TOML file
    calllog.py    one JSON line a call: what a test counts as paid

Whoever calls it pays nothing, and `answers.answer_text` tells beforehand what each prompt is answered.
It imports nothing else of ours: the referee shares no code with what it judges.
"""

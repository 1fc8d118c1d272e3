"""A real server that behaves like four providers - OpenAI, Anthropic, Gemini, Ollama - for demos, benches and
every test of ours.

    server.py      RSGI shell: sockets, sleeping, sending, the call log; nothing is decided here
    listening.py   the port: taken, asked until it answers, announced
    simulation.py  one call decided: key, request, limits, fault, latency, answer -> `Plan`
    dialect.py     the seam: what simulation.py asks of a provider's API; dialects.py says whose a request is
    openai*.py, embeddings.py, checks.py    OpenAI's: chat, responses, completions, embeddings, audio
    anthropic*.py  Anthropic's messages, with its prompt cache
    gemini*.py     Gemini's generateContent and embeddings
    ollama*.py     Ollama's chat, generate, embed and model pages
    chat.py        the request that every dialect reads its body into, and its answer
    answers.py, schema.py, regex.py, vectors.py, usage.py, pieces.py, promptcache.py, limits.py, faults.py,
    models.py, errors.py    functions and values that all dialects share
    config.py      one frozen tree from flags and a TOML file
    calllog.py     one JSON line a call: what a test counts as paid

Whoever calls it pays nothing, and `answers.answer_text` tells beforehand what each prompt is answered, in every
dialect alike. It imports nothing else of ours: the referee shares no code with what it judges.
"""

"""The other engines, each a process of its own that serving.py lets answer lap after lap.

Nothing here imports anything of ours but this package: most of them run in `.venv-bench`, where we are not
installed. others.py starts them as `python -m app.bench.peers.NAME`.
"""

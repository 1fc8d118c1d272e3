"""The engine: what turns stored requests into recorded answers. `runtime.py` puts it together."""

"""MongoDB and Redis: one noun per file, every Redis key in keys.py, every Lua script one typed function."""

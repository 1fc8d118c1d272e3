"""Decisions on values: no I/O, no clock, no settings. Everything else in the project may import this."""

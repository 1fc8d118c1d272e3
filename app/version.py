"""The version, as the programs around the workers know it."""

from config.version import VERSION

__all__ = ["VERSION"]

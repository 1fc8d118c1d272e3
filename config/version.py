"""The one place in the code that names the version; a test holds it equal to pyproject.toml's.

Not read from the installed package's metadata: a checkout on the path has none. Workers say it with their vital signs.
"""

VERSION = "0.1.0"

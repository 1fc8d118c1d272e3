"""The one error of the embedded stack: what is wrong and what to do next, each half a sentence.

Everything in app/embedded raises it; the command line prints `str(error)` and exits.
"""


class StackError(Exception):
    """The stack cannot do what was asked; `hint` says what a person can do about it.

    Args:
        message: what is wrong and where, without a full stop.
        hint: what to do next, or "" if there is nothing better than reading the log.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class DirectoryInUse(StackError):
    """Another process owns a stack on this data directory, and is starting, running or stopping it."""


class PortTaken(StackError):
    """A server could not bind its port; with another port the same start may pass."""

"""The one error of the scope language."""

from scopeway.control_plane.errors import ControlPlaneError


class ScopeError(ControlPlaneError):
    """A scope, expression or target name that is not valid.

    `str()` is what the user reads:
    "column 10: a cloud name, 'local', '[' or '(' is missing after '|'".
    """

    def __init__(self, message: str, *, column: int | None = None, status: int = 400) -> None:
        self.message = message
        """The reason, without the column."""
        self.column = column
        """1-based, in characters of the text as written; None if the whole text is meant."""
        self.status = status
        """The HTTP status of the answer to a request with this scope (docs/errors.md)."""
        super().__init__(message if column is None else f"column {column}: {message}")

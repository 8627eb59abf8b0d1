"""A document that is not valid, with all its problems."""

from dataclasses import dataclass

from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.errors import ControlPlaneError

_SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a document."""

    field: str
    """The path of the value, "spec.services.image.endpoints[0].port"; "" is the whole document."""
    reason: str
    """The value, and what is wrong with it."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class InvalidCloud(ControlPlaneError):
    """A document that is not valid."""

    def __init__(
        self, place: str, *problems: Problem, more: int = 0, name: str | None = None
    ) -> None:
        self.place = place
        """Where the document is: a file and line, or a key."""
        self.problems = problems
        """At least one, in the order of the document; `more` further ones were counted."""
        self.name = name
        """The name of the document's cloud, or None if it cannot be read."""
        self.cordon: str | None = None
        """The cloud whose cordon the document is, if its place says so."""
        self.service_type: str | None = None
        """The service type that the document declares, if that is known."""
        first = [str(problem) for problem in problems[:_SHOWN_PROBLEMS]]
        shown = listed(first, _SHOWN_PROBLEMS, total=len(problems) + more, separator="; ")
        super().__init__(f"{place}: {shown}")

    @property
    def field(self) -> str:
        """The field of the first problem."""
        return self.problems[0].field

    @property
    def reason(self) -> str:
        """The reason of the first problem."""
        return self.problems[0].reason

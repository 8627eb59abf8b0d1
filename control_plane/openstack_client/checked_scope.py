"""The check of a scope before it is sent, as far as a client can make it."""

from scopeway.control_plane.scope import any_service_type, lexical_form, parse_scope


def checked_scope(text: str) -> str:
    """Return the lexical form of a scope.

    The registry may declare services that no client knows (docs/service-types.md). So any word that
    could be one passes, and the front refuses the unknown ones.

    Raises:
        ScopeError: The text is not a scope.
    """
    parse_scope(text, any_service_type())
    return lexical_form(text, any_service_type())

"""The check of a scope before it is sent, as far as a client can make it."""

from scopeway.control_plane.scope import (
    ServiceTypes,
    built_in,
    is_service_type,
    lexical_form,
    parse_scope,
)


def checked_scope(text: str) -> str:
    """Return the lexical form of a scope.

    The registry may declare services that no client knows (docs/service-types.md). So any word that
    could be one passes, and the front refuses the unknown ones.

    Raises:
        ScopeError: The text is not a scope.
    """
    known = built_in()
    types = _AnyServiceType(known.types, known.aliases)
    parse_scope(text, types)
    return lexical_form(text, types)


class _AnyServiceType(ServiceTypes):
    def official(self, word: str) -> str | None:
        known = self.aliases.get(word, word)
        return known if is_service_type(known) else None

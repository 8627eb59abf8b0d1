"""The errors of the control plane that a user may see.

    ControlPlaneError
      ScopeError            control_plane.scope.errors: a scope that the language refuses
      InvalidCloud          control_plane.clouds.manifest: a cloud document that is refused
      RegistryUnavailable   control_plane.registry: a registry that cannot be read

Each is one sentence for people: lower case, no full stop, naming the offending value.
"""


class ControlPlaneError(Exception):
    """Any error whose text is meant for a person; printed without a traceback."""


def sentence(error: ControlPlaneError | OSError) -> str:
    """Return what a person reads of an error: of the system's the file and the words, no number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)

"""The URL of a Kubernetes API server: `kubernetes:[FILE][?context=NAME]`.

Pure: reads no file.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from scopeway.control_plane.kubernetes_api.errors import ApiError

SCHEME = "kubernetes"
FORMS = "kubernetes:, kubernetes:FILE or kubernetes:FILE?context=NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesUrl:
    """Which API server, and which login."""

    kubeconfig: Path | None = None
    """None: $KUBECONFIG, else this pod's service account, else ~/.kube/config."""
    context: str = ""
    """The context of the kubeconfig; "" means its `current-context`."""

    def __str__(self) -> str:
        options = f"?context={self.context}" if self.context else ""
        return f"{SCHEME}:{self.kubeconfig or ''}{options}"


def parse_kubernetes_url(url: str) -> KubernetesUrl:
    """Parse the URL of an API server.

    Raises:
        ApiError: the URL does not have this form; the text names the wrong part.
    """
    scheme, colon, rest = url.partition(":")
    if scheme != SCHEME or not colon:
        raise ApiError(f"unsupported scheme {scheme!r}; use {FORMS}", refused=True)
    file, _, query = rest.partition("?")
    if file.startswith("//"):
        raise ApiError(f"'//' is not allowed after 'kubernetes:'; use {FORMS}", refused=True)
    # "+" is a character of names, not a space
    options = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
    for option in options.keys() - {"context"}:
        raise ApiError(f"unknown option {option!r} of kubernetes:; use context", refused=True)
    if options.get("context") == "":
        raise ApiError("the option context of kubernetes: is empty", refused=True)
    return KubernetesUrl(
        kubeconfig=Path(file).expanduser() if file else None, context=options.get("context", "")
    )

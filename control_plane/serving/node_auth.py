"""What a node claims to be, against what its certificate proves, and what its bootstrap has to say.

Pure. Invariant: behind a channel that proves anything, a node is served as the cloud in its
certificate or not at all.
"""

from typing import Final

from scopeway.control_plane.identity import cloud_of
from scopeway.control_plane.translator.node_identity import from_metadata
from scopeway.control_plane.translator.node_setup import EARLIER, PROTOCOL
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import Node
from scopeway.xds.text import shown

MAX_PATH: Final = 4096
"""Bytes of a file's path: PATH_MAX of Linux. What a node says of its files is sent back in its
listeners and secrets, and kept for each of its streams."""

_PATHS: Final = (
    "scopeway.access_log",
    *(f"scopeway.identity.{each}" for each in ("certificate", "key", "authorities")),
)
_SHOWN = 100
"""Characters of a claim that an error repeats."""


def check_claims(node: Node, trust_domain: str | None) -> None:
    """Let a node pass whose `cluster` and `id` are those of the one cloud in its certificate.

    Where the channel proves nothing (plain text), every node passes; without a trust domain no
    certificate is that of a cloud.

    Raises:
        ProtocolError: PERMISSION_DENIED; says what is claimed and what is proven.
    """
    if node.identities is None:
        return
    proven = None
    if trust_domain is not None and len(node.identities) == 1:
        proven = cloud_of(node.identities[0], trust_domain)
    if proven is None:
        raise _denied(
            f"its certificate bears {_list(node.identities)}, which is no cloud of the trust "
            f"domain {trust_domain}",
            node,
        )
    if node.cluster != proven or node.id.partition("/")[0] != proven:
        raise _denied(f"its certificate is that of {proven}", node)


def check_bootstrap(node: Node, *, with_identity: bool) -> None:
    """Let a node pass that names its cloud and is configured for this control plane.

    `with_identity`: it has to say where its certificate is, too.

    Raises:
        ProtocolError: says what is missing or too long; FAILED_PRECONDITION: another bootstrap is
            needed.
    """
    protocol = node.metadata.get("scopeway.protocol")
    if protocol not in (EARLIER, PROTOCOL):
        raise ProtocolError(
            f"node {_quoted(node.id)} has scopeway.protocol {_quoted(protocol)} in its metadata, "
            f"not {PROTOCOL!r}: make its bootstrap with `scopeway bootstrap` of this version",
            status="FAILED_PRECONDITION",
        )
    for field in _PATHS:
        size = len(node.metadata.get(field, "").encode(errors="replace"))
        if size > MAX_PATH:
            raise ProtocolError(
                f"node {_quoted(node.id)} has a path of {size} bytes in its metadata, at "
                f"{field}; a path has at most {MAX_PATH}"
            )
    if not node.cluster:
        raise ProtocolError(f"node {_quoted(node.id)} names no cloud as its cluster")
    if with_identity and from_metadata(node.metadata) is None:
        # its clusters of other sites would wait for a certificate for ever
        raise ProtocolError(
            f"node {_quoted(node.id)} says in its metadata, at scopeway.identity, no files of its "
            "certificate, by which other sites know it: make its bootstrap with `scopeway "
            "bootstrap --tls-…`",
            status="FAILED_PRECONDITION",
        )


def _denied(reason: str, node: Node) -> ProtocolError:
    claims = f"node {_quoted(node.id)} claims the cloud {_quoted(node.cluster)}"
    return ProtocolError(f"{claims}, but {reason}", status="PERMISSION_DENIED")


def _quoted(text: str | None) -> str:
    return "None" if text is None else f"'{shown(text, _SHOWN)}'"


def _list(identities: tuple[str, ...]) -> str:
    return ", ".join(shown(each, _SHOWN) for each in identities[:3]) or "no URI"

"""Admits nodes: what a node claims, against its certificate, its bootstrap and the stream limits.

Pure. Invariant: if TLS proves who the client is, a node is served as the cloud in its certificate
or not at all.
"""

from typing import Final

from scopeway.control_plane.identity import cloud_of
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.node_context import NodeContext
from scopeway.control_plane.serving.site_state import SiteState
from scopeway.control_plane.translator.node_identity import SiteIdentity, from_metadata
from scopeway.control_plane.translator.node_setup import EARLIER, PROTOCOL, setup_of
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import Node
from scopeway.xds.text import shown

MAX_PATH: Final = 4096
"""Bytes of a file's path: PATH_MAX of Linux. The paths in a node's metadata are sent back in its
listeners and secrets, and kept for each of its streams."""

_PATHS: Final = (
    "scopeway.access_log",
    *(f"scopeway.identity.{each}" for each in ("certificate", "key", "authorities")),
)
_SHOWN = 100
"""Characters of a claim that an error repeats."""


def admit(
    node: Node, *, trust_domain: str | None, state: SiteState | None, limits: SourceLimits
) -> NodeContext:
    """Return the context of a node that may open one more stream.

    Args:
        node: What the client claims, and what its certificate proves.
        trust_domain: Of the certificates of sites. None: sites have no certificates, so a node need
            not name one, and no certificate is that of a cloud.
        state: The site of the node, if one of its Envoys is or was connected.
        limits: Of the streams of a node and of a site.

    Raises:
        ProtocolError: PERMISSION_DENIED: the certificate is not that of the cloud that the node
            claims. FAILED_PRECONDITION: the node needs another bootstrap. RESOURCE_EXHAUSTED: the
            node or its site has too many streams. INVALID_ARGUMENT: the node names no cloud, or a
            path is too long.
    """
    _check_claim(node, trust_domain)
    identity = from_metadata(node.metadata)
    _check_bootstrap(node, identity, needs_identity=trust_domain is not None)
    if state is not None:
        _check_streams(node, state, limits)
    return NodeContext(
        node_id=node.id, site=node.cluster, setup=setup_of(node.metadata), identity=identity
    )


def _check_claim(node: Node, trust_domain: str | None) -> None:
    if node.identities is None:  # plain text proves nothing
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


def _check_bootstrap(node: Node, identity: SiteIdentity | None, *, needs_identity: bool) -> None:
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
    if needs_identity and identity is None:
        # its clusters of other sites would wait for a certificate for ever
        raise ProtocolError(
            f"node {_quoted(node.id)} names no files of its certificate in its metadata, at "
            "scopeway.identity, and other sites could not verify it: make its bootstrap with "
            "`scopeway bootstrap --tls-…`",
            status="FAILED_PRECONDITION",
        )


def _check_streams(node: Node, state: SiteState, limits: SourceLimits) -> None:
    for count, limit, whose in (
        (state.streams_of(node.id), limits.streams_per_node, f"node '{shown(node.id)}'"),
        (len(state.streams), limits.streams_per_cloud, f"cloud {node.cluster}"),
    ):
        if count >= limit:
            raise ProtocolError(f"{whose} has {count} streams already", status="RESOURCE_EXHAUSTED")


def _denied(reason: str, node: Node) -> ProtocolError:
    claims = f"node {_quoted(node.id)} claims the cloud {_quoted(node.cluster)}"
    return ProtocolError(f"{claims}, but {reason}", status="PERMISSION_DENIED")


def _quoted(text: str | None) -> str:
    return "None" if text is None else f"'{shown(text, _SHOWN)}'"


def _list(identities: tuple[str, ...]) -> str:
    return ", ".join(shown(each, _SHOWN) for each in identities[:3]) or "no URI"

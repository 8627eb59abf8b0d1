"""What a node claims to be, against what its certificate proves.

Pure. Invariant: behind a channel that proves anything, a node is served as the cloud in its
certificate or not at all.
"""

from control_plane.identity import cloud_of
from xds.errors import ProtocolError
from xds.source import Node

_SHOWN = 100
"""Characters of a claim that an error repeats: a client may claim anything."""


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


def _denied(reason: str, node: Node) -> ProtocolError:
    claims = f"node {node.id[:_SHOWN]!r} claims the cloud {node.cluster[:_SHOWN]!r}"
    return ProtocolError(f"{claims}, but {reason}", status="PERMISSION_DENIED")


def _list(identities: tuple[str, ...]) -> str:
    return ", ".join(each[:_SHOWN] for each in identities[:3]) or "no URI"

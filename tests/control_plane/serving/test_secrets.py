"""A control plane names key files in secrets and never reads them."""

from pathlib import Path

import pytest

from harness.certificates import Sites
from harness.fleet import manifest
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.translator.site_resources import each_site_resource
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.source import Node, NodeView
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET

SITE = "cloud-1"


def everything(view: NodeView) -> bytes:
    """All that an Envoy can ask for."""
    names = {each: {*view.wildcard(each)} for each in (CLUSTER, LISTENER, ROUTE, EXTENSION, SECRET)}
    names[SECRET] |= {"front", "identity", "authorities"}
    names[LISTENER] |= {"front", "peer"}
    found = [view.resource(kind, name) for kind, of in names.items() for name in sorted(of)]
    return b"".join(each.body for each in found if each is not None)


@pytest.mark.parametrize("by", ["manifest", "node"])
def test_a_named_key_file_is_sent_by_name_and_never_by_content(tmp_path: Path, by: str) -> None:
    """A hostile writer of etcd, or an Envoy, that names a file of the control plane's machine."""
    identity = Sites(tmp_path).identity("another")
    tls = {"certificate": identity.key, "key": identity.key}
    front = {"address": "127.0.0.1", "port": 1, **({"tls": tls} if by == "manifest" else {})}
    cloud = manifest(SITE, front=front, peer={"address": "127.0.0.1", "port": 2})
    source = ScopewaySource(
        inventory=Inventory().apply({SITE: cloud}, ()),
        notifier=ChangeNotifier(),
        make_site=lambda cloud, *_: each_site_resource(cloud, trust_domain="fleet.test"),
        settings=PlanSettings(trust_domain="fleet.test"),
    )
    named = identity.key if by == "node" else "/elsewhere"
    files = {f"scopeway.identity.{each}": named for each in ("certificate", "key", "authorities")}
    spiffe = f"spiffe://fleet.test/cloud/{SITE}"
    node = Node(
        id=f"{SITE}/0",
        cluster=SITE,
        metadata={"scopeway.protocol": "1", **files},
        identities=(spiffe,),
    )
    sent = everything(source.attach(node))

    assert identity.key.encode() in sent
    for line in Path(identity.key).read_bytes().splitlines():
        assert line not in sent

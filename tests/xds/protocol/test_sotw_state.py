"""The size of a full state."""

import pytest

from scopeway.xds.encoding.messages import SotwRequest
from scopeway.xds.errors import ProtocolError
from scopeway.xds.protocol.session import SotwSession
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER
from xds_model import Store


def test_a_full_state_has_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopeway.xds.protocol.sotw.FULL_STATE_LIMIT", 1000)
    store = Store(texts={(CLUSTER, "a"): "x" * 400, (CLUSTER, "b"): "x" * 400})
    node = Node(id="site/1", cluster="site")
    session = SotwSession(store)
    session.receive(SotwRequest(type_url=CLUSTER, node=node, names=("a", "b")), 0)
    (response,) = session.responses_to_send(0)
    assert response.resources == 2

    store.texts[CLUSTER, "b"] += "x" * 400
    session = SotwSession(store)
    session.receive(SotwRequest(type_url=CLUSTER, node=node, names=("a", "b")), 0)
    with pytest.raises(ProtocolError, match="use delta xDS") as refused:
        session.responses_to_send(0)
    assert refused.value.status == "RESOURCE_EXHAUSTED"

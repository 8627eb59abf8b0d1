"""The line of one Envoy in the status document."""

from scopeway.control_plane.admin.status import stream_status
from scopeway.xds.grpc_server.server import StreamStatus
from scopeway.xds.protocol.status import Nack, Rejection, TypeStatus
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, LISTENER, ROUTE, SECRET

NODE = Node(id="cloud-1/a", cluster="cloud-1", user_agent="envoy/1.40.0")


def type_status(type_url: str, subscribed: int, **more: object) -> TypeStatus:
    values = {"acked": 0, "in_flight": 0, "in_flight_since": None, "rejected": {}}
    values |= {"last_nack": None, "wildcard": True, "subscribed": subscribed, **more}
    return TypeStatus(type_url=type_url, **values)  # type: ignore[arg-type]


def test_a_status_line_sums_up_the_states_of_its_types() -> None:
    clusters = type_status(
        CLUSTER,
        5,
        acked=3,
        in_flight=1,
        in_flight_since=98.0,
        rejected={"image@b": Rejection("2", "no such thing")},
        last_nack=Nack(names=("image@b",), code=13, message="no such thing", at=97.0),
    )
    listeners = type_status(LISTENER, 2, acked=2, in_flight=2, in_flight_since=99.0)
    stream = StreamStatus(
        node=NODE, peer="ipv4:127.0.0.1:9", since=40.0, types=(clusters, listeners)
    )
    line = stream_status(stream, 100.0)

    assert (line["cloud"], line["instance"], line["version"]) == ("cloud-1", "a", "envoy/1.40.0")
    assert (line["node"], line["peer"]) == ("cloud-1/a", "ipv4:127.0.0.1:9")
    assert line["connected_seconds"] == 60
    assert (line["targets"], line["acked"]) == (5, 5)
    assert line["nacked"] == {"image@b": "no such thing"}
    assert line["lag_seconds"] == 2
    assert line["types"]["Cluster"] == {
        "subscribed": 5,
        "acked": 3,
        "in_flight": 1,
        "rejected": ["image@b"],
        "last_nack": "no such thing",
    }


def test_a_status_line_sums_up_kept_and_sent_resources_of_an_outdated_control_plane() -> None:
    def line(known: bool | None, kept: int, sent: int) -> tuple[object, ...]:
        types = tuple(
            type_status(each, 1, kept=kept, sent_outdated=sent) for each in (CLUSTER, LISTENER)
        )
        stream = StreamStatus(node=NODE, peer="", since=0, types=types)
        found = stream_status(stream, 1.0, known=known)
        return found["stale"], found["kept"], found["sent_stale"]

    assert line(False, 1, 1) == ("unknown", 2, 2)
    assert line(True, 1, 1) == ("keeps", 2, 2)
    assert line(True, 0, 1) == ("sent", 0, 2)
    assert line(True, 0, 0) == ("unchanged", 0, 0)
    assert line(None, 0, 0) == (None, 0, 0)


def test_rejections_of_two_types_with_one_name_are_both_shown() -> None:
    types = [
        type_status(type_url, 1, rejected={"front": Rejection("2", why)})
        for type_url, why in ((LISTENER, "no such filter\n"), (SECRET, "no such file"))
    ]
    line = stream_status(StreamStatus(node=NODE, peer="", since=0, types=tuple(types)), 1.0)

    assert line["nacked"] == {"Listener front": "no such filter", "Secret front": "no such file"}


def test_a_current_rejection_without_a_resource_name_is_shown_by_its_type() -> None:
    types = [
        type_status(
            type_url, 2, last_nack=Nack(names=names, code=13, message=why, at=9, is_current=s)
        )
        for type_url, names, why, s in (
            (CLUSTER, (), "of an earlier stream\n", True),
            (LISTENER, ("a", "b"), "one is bad", True),
            (SECRET, (), "was taken after all", False),
            (ROUTE, ("a",), "is shown by name, as long as it is the newest", True),
        )
    ]
    line = stream_status(StreamStatus(node=NODE, peer="", since=0, types=tuple(types)), 10.0)

    assert line["nacked"] == {"Cluster": "of an earlier stream", "Listener": "one is bad"}


def test_a_stream_that_has_acked_everything_has_no_lag() -> None:
    stream = StreamStatus(node=NODE, peer="", since=0, types=(type_status(CLUSTER, 0),))

    assert stream_status(stream, 100.0)["lag_seconds"] == 0

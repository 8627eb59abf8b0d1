"""The HTTP server in front of Glance: how the application reads a request body."""

import io
import socket
import threading
from collections.abc import Iterator

import pytest

from demo.serve_streaming import Body, Handler, Server

CHUNKED = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx: y\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "length", "body"),
    [
        (b"abcde", 3, b"abc"),
        (b"abcde", 0, b""),
        (CHUNKED + b"GET", None, b"abcde"),
        (b"0\r\n\r\nGET", None, b""),
    ],
)
def test_a_body_ends_at_its_length_or_last_chunk(
    sent: bytes, length: int | None, body: bytes
) -> None:
    file = io.BytesIO(sent)

    assert io.BufferedReader(Body(file, length)).read() == body
    assert file.read() == (sent[len(body) :] if length is not None else b"GET")


@pytest.mark.parametrize(("sent", "length"), [(b"ab", 3), (b"3\r\nab", None)])
def test_an_incomplete_body_is_a_connection_error(sent: bytes, length: int | None) -> None:
    with pytest.raises(ConnectionResetError):
        io.BufferedReader(Body(io.BytesIO(sent), length)).read()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(Handler, "linger", 0.05)

    def application(environment: dict[str, object], start: object) -> list[bytes]:
        assert callable(start)
        body = environment["wsgi.input"]
        assert isinstance(body, io.BufferedReader)
        start("200 OK", [("Content-Type", "text/plain")])
        return [body.read(3) if environment["PATH_INFO"] == "/begins" else b"unread"]

    made = Server(("127.0.0.1", 0), Handler)
    made.set_app(application)  # type: ignore[arg-type]
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_application_reads_the_bytes_that_have_arrived(server: Server) -> None:
    """Before the rest has come."""
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        connection.sendall(b"PUT /begins HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\nabc")
        answer = connection.makefile("rb").read()

    assert answer.endswith(b"\r\n\r\nabc")


def test_an_answer_before_the_end_of_the_request_body_reaches_the_client(server: Server) -> None:
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
        connection.sendall(head + b"x" * 200000)
        answer = connection.makefile("rb").read()

    assert answer.endswith(b"\r\n\r\nunread")

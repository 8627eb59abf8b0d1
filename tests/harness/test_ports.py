import socket

import pytest

from harness import ports
from harness.ports import ADDRESS, all_listen, free_ports, listens


def test_no_port_is_returned_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "LOWEST", 31000)
    monkeypatch.setattr(ports, "HIGHEST", 31040)

    assert not set(free_ports(15)) & set(free_ports(15))


def test_free_ports_are_different_and_free() -> None:
    given = free_ports(8)

    assert len(set(given)) == 8
    assert not any(listens(port) for port in given)


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]

        assert listens(port)
        assert all_listen([port])
        assert not all_listen([port, *free_ports(1)])


def test_requesting_too_many_ports_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LOWEST", 31000)
    monkeypatch.setattr(ports, "HIGHEST", 31004)

    with pytest.raises(OSError, match="no 5 free ports from 31000 to 31004"):
        free_ports(5)

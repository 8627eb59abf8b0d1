import socket

from control_plane.demo.ports import ADDRESS, all_listen, free_ports, listens


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)

    assert len(set(ports)) == 8
    assert not any(listens(port) for port in ports)


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]

        assert listens(port)
        assert all_listen([port])
        assert not all_listen([port, *free_ports(1)])

"""The control plane stops, restarts and sends bad updates while requests go on."""

import socket
import time
from typing import Any

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Connection, send

ANYONE = [{"clouds": ["cloud-1"]}]
UPDATES = "cluster_manager."


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Any:
    """cloud-1 with an Envoy, and two clouds without."""
    for name in ("cloud-2", "cloud-3"):
        service = fleet.service(f"glance-{name}")
        fleet.control_plane.put(manifest(name, services={"image": service}, accept=ANYONE))
    return fleet.site("cloud-1", services={"image": fleet.service("glance-1")})


def ask(site: Any, scope: str) -> Any:
    return send(site.front.port, "/image/v2", [("X-Scope", scope)])


def test_a_target_of_an_unknown_cloud_works_when_the_cloud_is_registered(
    fleet: Fleet, site: Any
) -> None:
    assert ask(site, "{image:cloud-9}").status == 404
    fleet.control_plane.put(
        manifest("cloud-9", services={"image": fleet.service("glance-9")}, accept=ANYONE)
    )

    assert fleet.eventually(lambda: ask(site, "{image:cloud-9}").status == 200)


def test_targets_in_use_work_without_a_control_plane(fleet: Fleet, site: Any) -> None:
    assert ask(site, "{image:cloud-2}").status == 200
    assert ask(site, "{image:cloud-7}").status == 404
    envoy = fleet.envoys["cloud-1"]
    fleet.control_plane.stop()
    try:
        began = time.monotonic()
        first_use = ask(site, "{image:cloud-3}")
        seconds = time.monotonic() - began
        either = ask(site, "{image:cloud-3|cloud-2}")

        assert (first_use.status, first_use.error["code"]) == (503, 503)
        assert first_use.error["message"].startswith(
            "the control plane did not answer for image@cloud-3, or "
        )
        assert seconds < 5
        assert (either.status, either.error["code"]) == (503, 503)
        assert ask(site, "{image:cloud-2}").status == 200
        assert ask(site, "{image:cloud-7}").error["code"] == 404
        assert send(site.front.port, "/image/").status == 200
    finally:
        updated = envoy.stats(UPDATES)
        fleet.control_plane.start()

    assert fleet.eventually(lambda: ask(site, "{image:cloud-3}").status == 200)
    # cloud-3 is the only one that was sent
    after = envoy.stats(UPDATES)
    name = "cluster_manager.cluster_modified"
    assert after[name] == updated[name]


class TestChangedLua:
    """Extension discovery changes the filter of live connections; a listener would drain them."""

    def test_changed_lua_reaches_a_live_connection(self, fleet: Fleet, site: Any) -> None:
        envoy = fleet.envoys["cloud-1"]
        with Connection(site.front.port) as connection:
            assert connection.send("/image/v2").status == 200
            fleet.control_plane.replace_lua(
                'function envoy_on_request(handle) handle:respond({[":status"] = "418"}, "new") end'
            )
            try:
                assert fleet.eventually(lambda: connection.send("/image/v2").status == 418)
            finally:
                fleet.control_plane.replace_lua(None)
            assert fleet.eventually(lambda: connection.send("/image/v2").status == 200)

        assert envoy.stats("listener_manager.")["listener_manager.listener_modified"] == 0

    def test_lua_that_does_not_compile_leaves_the_last_good_one(
        self, fleet: Fleet, site: Any
    ) -> None:
        envoy = fleet.envoys["cloud-1"]
        refused = "extension_config_discovery.http_filter.lua/front.config_fail"
        fleet.control_plane.replace_lua("function (")
        try:
            assert fleet.eventually(lambda: envoy.stats(refused)[refused] > 0)
            assert send(site.front.port, "/image/v2").status == 200
        finally:
            fleet.control_plane.replace_lua(None)

    def test_lua_that_raises_an_error_forwards_nothing(self, fleet: Fleet, site: Any) -> None:
        fleet.control_plane.replace_lua("function envoy_on_request(handle) error('x') end")
        try:
            assert fleet.eventually(lambda: send(site.front.port, "/image/v2").status == 500)
            response = send(site.front.port, "/image/v2")
        finally:
            fleet.control_plane.replace_lua(None)

        assert (response.status, response.error["code"]) == (500, 500)
        assert fleet.eventually(lambda: send(site.front.port, "/image/v2").status == 200)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_front_with_a_changed_port_listens_on_the_new_one(fleet: Fleet, site: Any) -> None:
    port = fleet.free_port()
    fleet.control_plane.put(
        manifest(
            "cloud-1",
            front={"address": "127.0.0.1", "port": port},
            services={"image": fleet.service("glance-1")},
        )
    )

    assert fleet.eventually(lambda: answers(port))
    # Envoy's workers stop listening one after the other, and may have a new listener before
    assert fleet.eventually(lambda: refuses(site.peer.port))


def test_an_envoy_can_start_before_its_cloud_is_registered(fleet: Fleet) -> None:
    port = fleet.free_port()
    fleet.start_envoy("cloud-late").wait_ready()
    fleet.control_plane.put(
        manifest(
            "cloud-late",
            front={"address": "127.0.0.1", "port": port},
            services={"image": fleet.service("glance-1")},
        )
    )

    assert fleet.eventually(lambda: answers(port))


def answers(port: int) -> bool:
    try:
        return bool(send(port, "/image/").status == 200)
    except ConnectionError:
        return False

"""`collect`: what the site's own collector may ask for."""

from typing import Any

import pytest

from lua_envoy import SERVICES, Filter, make_filter

ID = "1f" * 16


@pytest.fixture
def collect() -> Filter:
    return make_filter("collect")


def test_a_target_of_one_cloud_goes_on_with_its_service(collect: Filter) -> None:
    sent = collect.request("/v2/images", {"x-scopeway-target": "image@cloud-2"})

    assert sent.answer is None
    assert sent.headers["x-scopeway-target"] == "image@cloud-2"
    assert sent.headers["x-scopeway-service"] == "image"
    assert sent.headers[":path"] == "/v2/images"


def test_the_service_is_that_of_the_target(collect: Filter) -> None:
    headers = {"x-scopeway-target": "image@cloud-2", "x-scopeway-service": "identity"}

    assert collect.request("/v2/images", headers).headers["x-scopeway-service"] == "image"


NO_CLOUD = "the collector names no target of one cloud"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, NO_CLOUD),
        ("", NO_CLOUD),
        ("image", NO_CLOUD),
        ("image@", NO_CLOUD),
        ("@cloud-2", NO_CLOUD),
        ("image@a&b", NO_CLOUD),
        ("image@a^b", NO_CLOUD),
        ("image@a|b", NO_CLOUD),
        ("image@[region=eu]", NO_CLOUD),
        ("image@&[region=eu]", NO_CLOUD),
        ("image@(a)", NO_CLOUD),
        ("image@a ", NO_CLOUD),
        ("image@A", NO_CLOUD),
        ("image@a@b", NO_CLOUD),
        ("identity.validate@a", NO_CLOUD),
        ("glance@a", "no fan-out has the service 'glance'"),
        ("nosuch@a", "no fan-out has the service 'nosuch'"),
        ("identity@a", "no fan-out has the service 'identity'"),
    ],
)
def test_no_other_target_goes_on(collect: Filter, target: str | None, message: str) -> None:
    headers = {} if target is None else {"x-scopeway-target": target}

    assert collect.refusal("/v2/images", headers) == (400, message)


def test_two_targets_are_refused(collect: Filter) -> None:
    headers = [("x-scopeway-target", "image@a"), ("x-scopeway-target", "image@b")]

    assert collect.refusal("/v2/images", headers) == (400, NO_CLOUD)


def test_ids_of_a_foreign_user_are_mapped_for_the_own_cloud_only(collect: Filter) -> None:
    headers = {"x-auth-token": "gAAA~1~*:cloud-2", "x-scopeway-target": "image@cloud-1"}
    path = f"/v2/images?owner={ID}"

    assert ID not in collect.request(path, headers).headers[":path"]
    headers["x-scopeway-target"] = "image@cloud-2"
    assert collect.request(path, headers).headers[":path"] == path


def test_the_names_of_targets_are_limited() -> None:
    """Envoy keeps each for ever, whatever the collector asks for."""
    collect = make_filter("collect", max_targets=3, new_targets_burst=100)

    def asked(cloud: str) -> Any:
        return collect.request("/v2/images", {"x-scopeway-target": f"image@{cloud}"}).answer

    assert [asked(f"c{number}") for number in range(3)] == [None] * 3
    assert asked("c9").status == 429
    assert asked("c1") is None
    assert asked("cloud-1") is None


@pytest.fixture
def collect_sensors() -> Filter:
    services = {**SERVICES, "sensor": "sensor", "probe": "sensor"}
    return make_filter("collect", services=services, http={"sensor": {"x-api-key": True}})


SENSOR = {
    "authorization": "Bearer of-this-site",
    "x-api-key": "key",
    "x-auth-token": "token",
    "accept": "a/b",
    "x-scopeway-fanout": "2",
}


def test_only_listed_headers_of_the_protocol_http_go_to_another_cloud(
    collect_sensors: Filter,
) -> None:
    headers = {**SENSOR, "x-scopeway-target": "sensor@cloud-2"}
    sent = collect_sensors.request(f"/v3/{ID}/readings", headers)

    assert sent.answer is None
    assert sent.headers == {
        ":method": "GET",
        ":path": f"/v3/{ID}/readings",
        "accept": "a/b",
        "x-api-key": "key",
        "x-scopeway-fanout": "2",
        "x-scopeway-route": "http",
        "x-scopeway-service": "sensor",
        "x-scopeway-target": "sensor@cloud-2",
    }


def test_the_own_cloud_gets_all_headers_of_the_protocol_http(collect_sensors: Filter) -> None:
    sent = collect_sensors.request("/a", {**SENSOR, "x-scopeway-target": "sensor@cloud-1"})

    assert {name: sent.headers[name] for name in SENSOR} == SENSOR
    assert "x-scopeway-route" not in sent.headers


def test_no_other_service_has_that_route(collect_sensors: Filter) -> None:
    sent = collect_sensors.request("/v2/images", {"x-scopeway-target": "image@cloud-2"})

    assert "x-scopeway-route" not in sent.headers


def test_no_id_is_mapped_for_a_service_with_the_protocol_http(collect_sensors: Filter) -> None:
    token = "token~1~*:cloud-2;sensor:cloud-1"
    headers = {"x-scopeway-target": "sensor@cloud-1", "x-auth-token": token}

    assert collect_sensors.request(f"/v3/{ID}/x", headers).headers[":path"] == f"/v3/{ID}/x"


class TestCachedValidations:
    """The collector asks the own Keystone about tokens."""

    VALIDATIONS = "identity.validate@cloud-1"
    TOKENS = "/v3/auth/tokens"

    @pytest.fixture
    def caching(self) -> Filter:
        return make_filter("collect", caches_validations=True)

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_what_is_about_a_token_goes_to_the_own_keystone(
        self, caching: Filter, method: str
    ) -> None:
        headers = {"x-scopeway-target": self.VALIDATIONS, "x-subject-token": "one"}
        sent = caching.request(f"{self.TOKENS}?nocatalog", headers, method=method)

        assert sent.answer is None
        assert sent.headers["x-scopeway-target"] == "identity@cloud-1"
        assert sent.headers["x-scopeway-service"] == "identity"

    @pytest.mark.parametrize(
        ("method", "path"), [("POST", TOKENS), ("GET", "/v3/users"), ("GET", f"{TOKENS}/x")]
    )
    def test_the_keystone_is_asked_nothing_else(
        self, caching: Filter, method: str, path: str
    ) -> None:
        headers = {"x-scopeway-target": self.VALIDATIONS}

        assert caching.refusal(path, headers, method=method)[0] == 404

    def test_the_keystone_of_another_cloud_is_not_asked(self, caching: Filter) -> None:
        headers = {"x-scopeway-target": "identity.validate@cloud-2"}

        assert caching.refusal(self.TOKENS, headers) == (400, NO_CLOUD)

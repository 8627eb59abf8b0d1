"""The same id in every cloud, where the API lets one choose it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.collector.handlers.chosen_ids import ChosenId, choose_id
from scopeway.control_plane.collector.messages.request import FanoutRequest, Refused

NEW = "11111111-2222-3333-4444-555555555555"


def post(service: str, path: str, body: bytes, method: str = "POST") -> FanoutRequest:
    return FanoutRequest(
        method=method,
        path=path,
        query="",
        service=service,
        target=f"{service}@a&b",
        operator="&",
        members=("a", "b"),
        missing=(),
        body=body,
    )


def chosen(request: FanoutRequest) -> tuple[object, ChosenId | None]:
    body, found = choose_id(request, lambda: NEW)
    return json.loads(body), found


@pytest.mark.parametrize("path", ["/v2/images", "/v2/images/", "/image/v2/images"])
def test_an_image_gets_a_new_id(path: str) -> None:
    body, found = chosen(post("image", path, b'{"name": "cirros", "x": [1, {"y": null}]}'))
    assert body == {"name": "cirros", "x": [1, {"y": None}], "id": NEW}
    assert found == ChosenId(NEW, by_client=False)


def test_an_image_keeps_the_id_of_the_client() -> None:
    request = post("image", "/v2/images", b'{"id":"mine"}')
    assert choose_id(request) == (request.body, ChosenId("mine", by_client=True))


@pytest.mark.parametrize("given", ["", ', "id": null', ', "id": "auto"'])
def test_a_flavor_gets_a_new_id(given: str) -> None:
    request = post("compute", "/v2.1/flavors", b'{"flavor": {"ram": 1%b}}' % given.encode())
    assert chosen(request) == (
        {"flavor": {"ram": 1, "id": NEW}},
        ChosenId(NEW, by_client=False),
    )


def test_a_flavor_keeps_the_id_of_the_client() -> None:
    request = post("compute", "/v2.1/0123/flavors", b'{"flavor": {"id": "42"}}')
    assert choose_id(request) == (request.body, ChosenId("42", by_client=True))


def test_the_name_of_a_key_pair_is_its_id() -> None:
    request = post("compute", "/v2.1/os-keypairs", b'{"keypair":{"name":"k","public_key":"ssh-x"}}')
    assert choose_id(request) == (request.body, ChosenId("k", by_client=True))


@pytest.mark.parametrize("key", ["", ',"public_key":null'])
def test_a_key_pair_is_not_generated_in_each_cloud(key: str) -> None:
    request = post("compute", "/v2.1/os-keypairs", b'{"keypair":{"name":"k"%b}}' % key.encode())
    with pytest.raises(Refused, match="send a public_key") as refused:
        choose_id(request)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "request_",
    [
        post("compute", "/v2.1/servers", b'{"server": {}}'),
        post("compute", "/v2.1/flavors/1/action", b'{"addTenantAccess": {}}'),
        post("image", "/v2/images/x/members", b'{"member": "p"}'),
        post("image", "/v2/images", b'{"name": "n"}', "PUT"),
        post("network", "/v2.0/networks", b'{"network": {}}'),
    ],
    ids=lambda request: f"{request.method} {request.path}",
)
def test_other_resources_keep_their_body_and_have_no_chosen_id(request_: FanoutRequest) -> None:
    assert choose_id(request_) == (request_.body, None)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"id": 5}', b'{"id": ["x"]}', b"\xff", b'{"a":' * 100_000, b"null"],
)
def test_a_body_of_another_form_stays_as_it_is(body: bytes) -> None:
    assert choose_id(post("image", "/v2/images", body)) == (body, None)


@pytest.mark.parametrize("body", [b"{}", b'{"flavor": []}', b'{"flavor": {"id": 5}}', b"[]"])
def test_a_flavor_of_another_form_stays_as_it_is(body: bytes) -> None:
    assert choose_id(post("compute", "/v2.1/flavors", body)) == (body, None)


@pytest.mark.parametrize("body", [b"{}", b'{"keypair": 1}', b'{"keypair": {"public_key": "x"}}'])
def test_a_key_pair_of_another_form_stays_as_it_is(body: bytes) -> None:
    assert choose_id(post("compute", "/v2.1/os-keypairs", body)) == (body, None)


@given(st.binary() | st.text().map(str.encode))
def test_any_body_is_taken(body: bytes) -> None:
    for service, path in (("image", "/v2/images"), ("compute", "/v2.1/flavors")):
        choose_id(post(service, path, body))

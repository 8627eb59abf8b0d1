"""What a sub-request is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fake_clouds import fan_out_headers
from scopeway.control_plane.collector.messages.request import (
    FanoutRequest,
    Token,
    read_request,
    split_token,
)


def read(method: str = "GET", **headers: str) -> FanoutRequest:
    made = fan_out_headers(["a", "b"]) | {k.replace("_", "-"): v for k, v in headers.items()}
    return read_request(
        method, b"/v2/images?x=%2F", [(n.encode(), v.encode()) for n, v in made.items()]
    )


def lines(data: bytes) -> list[str]:
    assert data.endswith(b"\r\n\r\n")
    return data.decode().split("\r\n")[:-2]


@pytest.mark.parametrize(
    ("token", "split"),
    [
        (b"T~1~*:home;image:a&b", Token(b"T~1~*:home;image:", b"")),
        (b"T~1~*:home;image:a&b;network:c", Token(b"T~1~*:home;image:", b";network:c")),
        (b"T~1~*:a", Token(b"T~1~*:a;image:", b"")),
        (b"T~1~*:a;compute:x&y;network:z", Token(b"T~1~*:a;compute:x&y;image:", b";network:z")),
        (b"T", b"T"),
    ],
)
def test_a_token_has_one_cloud_for_the_service_that_is_asked(
    token: bytes, split: Token | bytes
) -> None:
    assert split_token(token, "image") == split


def test_a_sub_request_has_the_headers_of_the_request_and_its_own() -> None:
    data = read("POST", x_y="z", accept_encoding="gzip", te="trailers", x_scope="image:a").encode(
        "b", body=b"12345"
    )
    first, *rest = lines(data)

    assert first == "POST /v2/images?x=%2F HTTP/1.1"
    assert sorted(rest) == [
        "accept-encoding: identity",
        "content-length: 5",
        "host: front",
        "x-auth-token: gAAAA-token~1~*:home;image:b",
        "x-forwarded-for: 192.0.2.7",
        "x-scopeway-fanout: 2",
        "x-scopeway-service: image",
        "x-scopeway-target: image@b",
        "x-y: z",
    ]


def test_a_token_without_a_scope_is_sent_as_it_is() -> None:
    assert "x-auth-token: T" in lines(read(x_auth_token="T").encode("a"))


def test_a_sub_request_may_go_elsewhere() -> None:
    (first, *_) = lines(read().encode("a", method="HEAD", location="/v2/images?marker=5"))

    assert first == "HEAD /v2/images?marker=5 HTTP/1.1"


def test_the_scope_of_a_token_does_not_tell_clients_apart() -> None:
    one, two, other = (
        read(x_auth_token=each).client for each in ("T~1~*:a;image:a&b", "T~1~*:c;image:a", "U~1~x")
    )

    assert one == two
    assert one != other
    assert read(x_auth_token="", authorization="Bearer x").client not in (b"", one)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-zA-Z-]{1,20}", fullmatch=True), st.text("abc \t;=,~", max_size=20)
        ),
        max_size=20,
    )
)
def test_no_header_of_a_client_becomes_one_of_scopeway(headers: list[tuple[str, str]]) -> None:
    made = [*fan_out_headers(["a"]).items(), *headers]
    try:
        found = read_request("GET", b"/", [(n.encode(), v.encode()) for n, v in made])
    except ValueError:
        raise
    except Exception:  # refused
        return
    sent = [each for each in lines(found.encode("a")) if each.lower().startswith("x-scopeway-")]

    assert sent == [
        "x-scopeway-target: image@a",
        "x-scopeway-service: image",
        "x-scopeway-fanout: 1",
    ]

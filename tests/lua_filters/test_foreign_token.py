"""Tokens of another cloud are stripped of roles and ids that do not count here."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

NAMESPACE = "0123456789abcdef"
ALLOWED = ("member", "reader")
HONOURED = f"{NAMESPACE};member,reader"
HEX = "f" * 32
LOCAL_HEX = NAMESPACE + "f" * 16
FRONT = {"url": "http://10.0.0.1:8080", "ports": {"image": "http://10.0.0.1:9292"}}
FIELDS = {
    *("user", "project", "domain", "roles", "catalog", "OS-TRUST:trust", "is_domain", "methods"),
    *("audit_ids", "issued_at", "expires_at", "bind", "oauth2_credential"),
    *("application_credential", "is_admin_project"),
}

USER = {"id": HEX, "name": "alice", "domain": {"id": "default", "name": "Default"}}
PROJECT = {"id": HEX, "name": "demo", "domain": {"id": "default", "name": "Default"}}
TOKEN = {
    "methods": ["password"],
    "user": {**USER, "password_expires_at": None},
    "audit_ids": ["a"],
    "expires_at": "2026-01-01T00:00:00.000000Z",
    "issued_at": "2026-01-01T00:00:00.000000Z",
    "project": PROJECT,
    "is_domain": False,
    "roles": [{"id": "1", "name": "admin"}, {"id": "2", "name": "member"}],
}


@pytest.fixture(scope="module")
def edit(new_modules: Any) -> Any:
    lua_edit = new_modules(front=FRONT)["foreign_token"].edit

    def edit(body: bytes | str | dict[str, Any], honoured: str = HONOURED) -> Any:
        """The token after the edit, or the status and the sentence of a refusal."""
        if isinstance(body, dict):
            body = json.dumps({"token": body})
        encoded = body if isinstance(body, bytes) else body.encode()
        result = lua_edit(encoded.decode("latin-1"), honoured)
        if isinstance(result, tuple):
            return result[1:]
        answer = json.loads(result.encode("latin-1"))
        assert answer.keys() == {"token"}
        return answer["token"]

    return edit


def edited(edit: Any, **changes: Any) -> Any:
    return edit({**TOKEN, **changes})


class TestRoles:
    def test_only_allowed_roles_of_a_foreign_token_are_kept(self, edit: Any) -> None:
        assert edit(TOKEN)["roles"] == [{"id": "2", "name": "member"}]

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "admin",
                "Member",
                "MEMBER",
                "member ",
                " member",
                "member,reader",
                "",
                ",",
                "member\0",
            ),
            *("m\u00e9mber", "service", None, 1, True, ["member"], {"name": "member"}),
        ],
    )
    def test_role_names_are_compared_exactly(self, edit: Any, name: Any) -> None:
        assert edited(edit, roles=[{"id": "1", "name": name}])["roles"] == []

    def test_a_role_keeps_only_id_and_name(self, edit: Any) -> None:
        role = {"name": "member", "id": "1", "domain_id": "default", "options": {}, "x": "admin"}

        assert edited(edit, roles=[role])["roles"] == [{"id": "1", "name": "member"}]

    def test_an_empty_list_of_allowed_roles_keeps_none(self, edit: Any) -> None:
        assert edit(TOKEN, f"{NAMESPACE};")["roles"] == []

    def test_escaped_json_strings_do_not_hide_roles(self, edit: Any) -> None:
        text = (
            json.dumps({"token": TOKEN}).replace("roles", "\\u0072oles").replace("adm", "\\u0061dm")
        )

        assert edit(text)["roles"] == [{"id": "2", "name": "member"}]

    def test_a_second_list_of_roles_is_refused(self, edit: Any) -> None:
        text = json.dumps({"token": TOKEN})
        twice = text[:-2] + ', "\\u0072oles": [{"name": "admin"}]}}'

        assert edit(twice)[0] == 502

    @pytest.mark.parametrize("roles", [None, "admin", {"name": "admin"}, ["admin"], [None], 1])
    def test_a_malformed_list_of_roles_is_refused(self, edit: Any, roles: Any) -> None:
        assert edited(edit, roles=roles)[0] == 502

    def test_an_unscoped_foreign_token_has_no_roles(self, edit: Any) -> None:
        token = edit({"user": USER, "methods": ["password"]})

        assert "roles" not in token
        assert "project" not in token


class TestIds:
    @pytest.mark.parametrize(
        ("claimed", "here"),
        [
            (HEX, LOCAL_HEX),
            ("a" * 64, NAMESPACE + "a" * 48),
            ("default", NAMESPACE + "default"),
            ("A" * 32, NAMESPACE + "A" * 32),
            ("a" * 31, NAMESPACE + "a" * 31),
            (NAMESPACE, NAMESPACE * 2),
            (
                "12345678-1234-1234-1234-123456789012",
                NAMESPACE + "12345678-1234-1234-1234-123456789012",
            ),
        ],
    )
    def test_ids_of_a_foreign_token_are_mapped_into_the_namespace(
        self, edit: Any, claimed: str, here: str
    ) -> None:
        owner = {"id": claimed, "name": "n", "domain": {"id": claimed, "name": "d"}}
        moved = {"id": here, "name": "n", "domain": {"id": here, "name": "d"}}
        token = edited(edit, user=owner, project=owner, domain=owner["domain"])

        assert (token["user"], token["project"], token["domain"]) == (moved, moved, moved["domain"])

    def test_an_id_of_a_foreign_token_already_in_the_namespace_is_unchanged(
        self, edit: Any
    ) -> None:
        assert edited(edit, project={**PROJECT, "id": LOCAL_HEX})["project"]["id"] == LOCAL_HEX

    def test_ids_of_a_trust_are_mapped(self, edit: Any) -> None:
        trust = {
            "id": HEX,
            "impersonation": True,
            "trustee_user": {"id": HEX},
            "trustor_user": {"id": "x", "name": "hidden"},
            "roles": ["admin"],
        }

        assert edited(edit, **{"OS-TRUST:trust": trust})["OS-TRUST:trust"] == {
            "id": LOCAL_HEX,
            "impersonation": True,
            "trustee_user": {"id": LOCAL_HEX},
            "trustor_user": {"id": NAMESPACE + "x"},
        }

    def test_a_domain_without_an_id_gets_the_namespace_as_its_id(self, edit: Any) -> None:
        """Some policies take none for the local default domain."""
        project = {**PROJECT, "domain": {"id": None, "name": None}}

        assert edited(edit, project=project)["project"]["domain"] == {"id": NAMESPACE, "name": None}

    def test_ids_of_a_foreign_token_can_be_kept(self, edit: Any) -> None:
        token = edit(TOKEN, ";member")

        assert (token["user"], token["project"]) == (TOKEN["user"], PROJECT)
        assert [each["name"] for each in token["roles"]] == ["member"]

    @pytest.mark.parametrize("bad", [None, 1, "", "a b", "a\n", "\u00e9", "a" * 65, ["x"], {}])
    @pytest.mark.parametrize("honoured", [HONOURED, ";member"])
    def test_a_malformed_id_in_a_foreign_token_is_refused(
        self, edit: Any, bad: Any, honoured: str
    ) -> None:
        assert edit({**TOKEN, "user": {**USER, "id": bad}}, honoured)[0] == 502
        assert edit({**TOKEN, "project": {**PROJECT, "id": bad}}, honoured)[0] == 502

    @pytest.mark.parametrize("changes", [{"user": None}, {"project": []}, {"project": None}])
    def test_a_malformed_owner_of_a_foreign_token_is_refused(self, edit: Any, changes: Any) -> None:
        assert edited(edit, **changes)[0] == 502

    @pytest.mark.parametrize(
        "owner", [{"id": HEX}, {"id": HEX, "domain": {}}, {"domain": {"id": "x"}}]
    )
    def test_an_owner_without_id_or_domain_is_refused(self, edit: Any, owner: Any) -> None:
        assert edited(edit, user=owner)[0] == 502


class TestFields:
    def test_unknown_fields_of_a_foreign_token_are_removed(self, edit: Any) -> None:
        token = edited(edit, is_admin_project=True, service_providers=[1], **{"OS-X": {}})

        assert token.keys() == {*TOKEN, "is_admin_project"}
        assert token["is_admin_project"] is False

    def test_restrictions_of_a_foreign_token_are_kept(self, edit: Any) -> None:
        restrictions = {
            "application_credential": {
                "id": "x",
                "restricted": True,
                "access_rules": [{"path": "/"}],
            },
            "bind": {"kerberos": "x"},
            "oauth2_credential": {"x5t#S256": "x"},
        }
        token = edited(edit, **restrictions)

        assert {name: token[name] for name in restrictions} == restrictions

    def test_fields_beside_the_token_are_removed(self, edit: Any) -> None:
        token = edit(json.dumps({"access": {"user": {}}, "token": TOKEN, "links": []}))

        assert token["user"]["name"] == "alice"

    @pytest.mark.parametrize("system", [{"all": True}, {"all": False}, {}, None, True, "x"])
    def test_a_system_scoped_foreign_token_is_a_404(self, edit: Any, system: Any) -> None:
        assert edited(edit, system=system)[0] == 404

    @pytest.mark.parametrize(
        "body",
        [
            *(
                b"",
                b"{}",
                b"[]",
                b"null",
                b"false",
                b'{"token": null}',
                b'{"token": []}',
                b'{"token": {}}',
            ),
            *(b"<html>", b'{"token": {}} {}', json.dumps({"token": TOKEN}).encode("utf-16")),
            *(b"\xef\xbb\xbf" + json.dumps({"token": TOKEN}).encode(), b"\x1f\x8b\x08\x00"),
            b'{"access": {"token": {}}}',
        ],
    )
    def test_a_body_that_is_no_token_is_refused(self, edit: Any, body: bytes) -> None:
        assert edit(body)[0] == 502


# what a Keystone could write: tokens with anything anywhere, in any order, spelled in any way
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["admin", "member", HEX, "default"])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "name", "roles", "domain", "system", "token"]), inner),
    max_leaves=8,
)  # fmt: skip
ROLE = st.fixed_dictionaries(
    {"name": st.sampled_from(["admin", "member", "reader", "service", "Admin"])},
    optional={"id": st.text(max_size=3), "x": ANYTHING},
)
ID = st.sampled_from([HEX, "default", LOCAL_HEX]) | st.text(
    "0123456789abcdef-", min_size=1, max_size=64
)
DOMAIN = st.fixed_dictionaries({"id": ID | st.none(), "name": st.text(max_size=3)})
OWNER = st.fixed_dictionaries(
    {"id": ID, "domain": DOMAIN}, optional={"name": ANYTHING, "x": ANYTHING}
)
GOOD = {"project": OWNER, "domain": DOMAIN, "roles": st.lists(ROLE, max_size=4)}
TOKENS = st.fixed_dictionaries(
    {"user": st.one_of(*[OWNER] * 9, ANYTHING)},
    optional={
        **{name: st.one_of(*[good] * 9, ANYTHING) for name, good in GOOD.items()},
        **dict.fromkeys(["is_admin_project", "catalog", "access", "is_domain", "bind"], ANYTHING),
        "system": st.just({"all": True}),
    },
)


def spelled(draw: Any, value: Any) -> str:
    """JSON of a value with its members in any order, any escapes, and at times a name twice."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        if names and draw(st.integers(0, 39)) == 39:
            names = [*names, draw(st.sampled_from(names))]
        members = [f"{spelled(draw, name)}:{spelled(draw, value[name])}" for name in names]
        return "{" + draw(st.sampled_from([",", " ,\n\t"])).join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(draw, each) for each in value) + "]"
    if isinstance(value, str):
        escaped = draw(st.sampled_from([0, 0, 1, 2]))
        if escaped == 2:
            units = value.encode("utf-16-be")
            pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
            return '"' + "".join(f"\\u{pair}" for pair in pairs) + '"'
        return json.dumps(value, ensure_ascii=bool(escaped))
    return json.dumps(value)


@st.composite
def answers(draw: Any) -> bytes:
    text = spelled(draw, {"token": draw(TOKENS)}).encode()
    return (
        draw(st.sampled_from([b""] * 9 + [b" ", b"\xef\xbb\xbf"]))
        + text
        + draw(st.sampled_from([b""] * 9 + [b"\n", b"x", b"{}", b"\x00"]))
    )


def ids(token: dict[str, Any]) -> list[str]:
    owners = [token[name] for name in ("user", "project", "domain") if name in token]
    return [each["id"] for each in [*owners, *(one["domain"] for one in owners if "domain" in one)]]


@given(body=answers())
@example(body=json.dumps({"token": TOKEN}).encode())
def test_no_answer_of_a_foreign_keystone_gets_unmapped_roles_or_ids_through(
    edit: Any, body: bytes
) -> None:
    token = edit(body)
    if isinstance(token, tuple):
        assert token[0] in (404, 502)
        return

    assert token.keys() <= FIELDS
    assert token["is_admin_project"] is False
    assert {each["name"] for each in token.get("roles", [])} <= set(ALLOWED)
    assert all(each.keys() <= {"id", "name"} for each in token.get("roles", []))
    assert ids(token)
    assert all(each.startswith(NAMESPACE) for each in ids(token))
    assert "system" not in token


@given(body=st.binary(max_size=60))
def test_arbitrary_bytes_in_place_of_a_foreign_token_are_refused(edit: Any, body: bytes) -> None:
    assert edit(body)[0] == 502

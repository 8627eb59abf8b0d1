"""Tokens of Keystone's trusts, such as Heat makes, at another cloud."""

from typing import Any

import pytest

from openstack_clouds import AT_OTHER, HOME, IMAGES, OTHER, TOKENS, Clouds
from scopeway.control_plane.planner.access import namespace

FROM_HOME = f"~1~*:{OTHER};identity:{HOME}"
"""Behind a token of home that a service of the other cloud has validated."""


@pytest.mark.parametrize("impersonation", [True, False])
def test_a_trust_token_is_accepted_by_another_cloud(clouds: Clouds, impersonation: bool) -> None:
    token = clouds.trust_token(impersonation=impersonation)
    answer = clouds.ask("GET", IMAGES, token, scope=AT_OTHER)
    assert answer.status == 200, answer

    subject = token + FROM_HOME
    validated = clouds.ask("GET", TOKENS, clouds.admin(OTHER), cloud=OTHER, X_Subject_Token=subject)
    trust: Any = validated.json["token"]["OS-TRUST:trust"]
    assert trust["trustor_user"]["id"].startswith(namespace(HOME))


def test_a_trust_token_is_refused_elsewhere_with_the_default_policy_of_keystone(
    clouds: Clouds,
) -> None:
    """Keystone answers 403, of which Nova would make a broken Keystone: 503."""
    token = clouds.trust_token(impersonation=True)
    asking, subject = clouds.admin(OTHER), token + FROM_HOME
    with clouds.default_keystone_policy():
        assert clouds.ask("GET", TOKENS, token, X_Subject_Token=token).status == 403
        answers = [
            clouds.ask(method, TOKENS, asking, cloud=OTHER, X_Subject_Token=subject)
            for method in ("GET", "HEAD")
        ]
        assert [answer.status for answer in answers] == [404, 404]
        assert "does not let it validate itself" in answers[0].json["error"]["message"]
        refused = clouds.ask("GET", IMAGES, token, scope=AT_OTHER)
        assert refused.status == 401
        assert "it is of a trust that impersonates" in refused.json["error"]["message"]


def test_a_trust_token_can_validate_tokens_but_not_list_or_revoke_anything(clouds: Clouds) -> None:
    """The policy of the demo allows it; the holder of a token may validate it anyhow."""
    token = clouds.trust_token(impersonation=True)
    other = clouds.admin()
    assert clouds.ask("GET", TOKENS, token, X_Subject_Token=other).status == 200
    for path in ("users", "projects", "OS-TRUST/trusts"):
        assert clouds.ask("GET", f"/identity/v3/{path}", token).status == 403
    assert clouds.ask("DELETE", TOKENS, token, X_Subject_Token=other).status == 403

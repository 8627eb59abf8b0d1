"""The API server of these tests is a real one."""

from harness.kubernetes import ApiServer


def test_it_has_the_version_that_kubectl_has(api_server: ApiServer) -> None:
    found = api_server.kubectl("version", "-o", "json").stdout

    assert found.count('"minor": "37"') == 2

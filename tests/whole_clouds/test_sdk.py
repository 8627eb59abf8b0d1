"""openstacksdk alone, without Scopeway installed and without a scope header."""

import pytest

from demo.full import sdk
from demo.full.scenario import Scene


@pytest.fixture(scope="module")
def entries(scene: Scene) -> None:
    """Those of `clouds.yaml` that carry a scope."""
    sdk.write_entries(scene)


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize("cloud", [cloud for cloud, _ in sdk.WAYS])
def test_openstacksdk_alone_boots_a_server_with_an_image_of_another_cloud(
    scene: Scene, cloud: str
) -> None:
    sdk.boot(scene, cloud)

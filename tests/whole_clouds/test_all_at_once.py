"""One request for several whole clouds."""

from demo.full import all_at_once
from demo.full.scenario import Scene


def test_an_image_is_made_listed_once_and_deleted_in_two_clouds(scene: Scene) -> None:
    image = all_at_once.create_image(scene)
    all_at_once.list_all(scene)
    all_at_once.delete_image(scene, image)


def test_a_creation_that_one_cloud_refuses_is_an_error_that_says_what_was_done(
    scene: Scene,
) -> None:
    all_at_once.done_in_part(scene)


def test_a_server_in_two_clouds_has_two_ids_that_are_each_shown_and_deleted(scene: Scene) -> None:
    all_at_once.servers(scene)

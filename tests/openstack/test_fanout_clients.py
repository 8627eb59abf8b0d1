"""Clients that ask two real Glances at once: the `openstack` command and openstacksdk.

gophercloud needs Go, and was tried by hand: it pages, sorts and shows like openstacksdk.
"""

import subprocess
from pathlib import Path

import pytest
import yaml

from demo.sites import register
from harness.ports import free_port
from harness.process import clean_environment
from openstack_clouds import HOME, IMAGES, OTHER, Clouds, neighbour, new_image

BOTH = f"{{keystone: {HOME}; glance: {HOME} & {OTHER}}}"
WITH_OFF = BOTH.replace("}", " & off}")
"""The third cloud is down."""
NAMES = [f"each-{number}" for number in range(5)]
"""Of the images of each cloud."""
SAME = "5f0e9c5e-0000-4000-8000-00000000000a"
"""The id of an image that both clouds have."""
NOT_REACHED = "1 of 3 clouds did not answer: off (503: connection refused)"


@pytest.fixture(scope="session", autouse=True)
def _images(clouds: Clouds) -> None:
    for cloud in (HOME, OTHER):
        token = clouds.admin(cloud)
        for name in NAMES:
            image = new_image(f"{name}-{cloud}", visibility="public")
            assert clouds.ask("POST", IMAGES, token, cloud=cloud, document=image).status == 201
        image = new_image("same", visibility="public", id=SAME)
        assert clouds.ask("POST", IMAGES, token, cloud=cloud, document=image).status == 201
    identity = clouds.sites[OTHER].services["identity"]
    off = neighbour("off", {"image": free_port(), "identity": identity}, [HOME])
    register(clouds.plane, [off], clouds.root / "off.yaml")
    clouds.await_cloud("off")


def test_the_command_lists_the_images_of_both_clouds_and_each_id_once(clouds: Clouds) -> None:
    each_once(listed(clouds, "-c", "Name"))


def test_the_command_pages_through_both_clouds(clouds: Clouds) -> None:
    """Each page begins behind the last image of the one before."""
    names: list[str] = []
    marker: tuple[str, ...] = ()
    for _ in range(20):
        # the command itself sorts what it prints; this is the order of Glance
        paging = ("--limit", "4", "--sort", "created_at:desc", *marker)
        rows = listed(clouds, *paging, "-c", "ID", "-c", "Name")
        if not rows:
            break
        names += [row.split(" ", 1)[1] for row in rows]
        marker = ("--marker", rows[-1].split(" ")[0])

    each_once(names)


def test_the_command_shows_an_image_of_any_of_the_clouds(clouds: Clouds) -> None:
    status, output = clouds.command("image", "show", f"each-3-{OTHER}", "--scope", BOTH)

    assert status == 0, output
    assert f"scopeway:cloud='{OTHER}'" in output


def test_the_command_finds_a_name_while_a_cloud_is_down(clouds: Clouds) -> None:
    command = ("image", "show", "-c", "name", "-f", "value", "--scope", WITH_OFF)
    status, output = clouds.command(*command, f"each-3-{OTHER}")
    assert (status, output.splitlines()) == (0, [f"each-3-{OTHER}", NOT_REACHED])

    status, output = clouds.command(*command, "11111111-1111-4111-8111-111111111111")
    assert status == 1
    assert output.startswith("not found, but 1 of 3 clouds failed: off (503")


def test_the_command_creates_and_deletes_an_image_in_both_clouds(clouds: Clouds) -> None:
    create = ("image", "create", "both", "-f", "value", "-c", "id", "--scope", BOTH)
    status, image = clouds.command(*create, terminal=True)
    assert status == 0, image

    for cloud in (HOME, OTHER):
        assert clouds.command("image", "show", image, "--scope", f"{{glance: {cloud}}}")[0] == 0
    assert clouds.command("image", "delete", image, "--scope", BOTH) == (0, "")
    for cloud in (HOME, OTHER):
        assert clouds.command("image", "show", image, "--scope", f"{{glance: {cloud}}}")[0] == 1


def test_the_command_names_a_cloud_that_is_down(clouds: Clouds) -> None:
    rows = listed(clouds, "-c", "Name", scope=WITH_OFF)

    assert rows[-1] == NOT_REACHED
    assert sum(row.startswith("1 of 3") for row in rows) == 1
    each_once(rows)


def test_the_command_fails_if_all_clouds_are_required_and_one_is_down(clouds: Clouds) -> None:
    command = ("image", "list", "--scope", WITH_OFF, "--scope-require", "all")
    status, output = clouds.command(*command)

    assert status == 1
    assert "off (503" in output
    assert "connection refused" in output
    assert "each-" not in output


def test_a_creation_that_one_cloud_cannot_do_says_what_to_repeat(clouds: Clouds) -> None:
    status, output = clouds.command("image", "create", "in-part", "--scope", WITH_OFF)

    assert status == 1
    assert "POST was done at cloud-1, cloud-2" in output
    lines = output.splitlines()[-4:]
    (image,) = {line.rpartition("id ")[2] for line in lines[:2]}
    assert lines == [
        f"  {HOME}: done (201), id {image}",
        f"  {OTHER}: done (201), id {image}",
        "  off: not done (503: connection refused)",
        f'repeat it at off only: --scope "identity:{HOME};image:off" --id {image}',
    ]
    assert clouds.command("image", "delete", image, "--scope", BOTH) == (0, "")


def test_the_command_shows_the_image_that_exactly_one_cloud_has(clouds: Clouds) -> None:
    scope = BOTH.replace("&", "^")
    (image,) = listed(clouds, "-c", "ID", "--property", f"name=each-2-{OTHER}")
    show = ("image", "show", "-f", "value", "-c", "name", "--scope", scope)

    assert clouds.command(*show, image) == (0, f"each-2-{OTHER}")
    assert clouds.command(*show, SAME) == (1, f"{HOME} and {OTHER} both have it (HTTP 409)")


PROGRAM = """
import sys
import openstack

images = openstack.connect(cloud=sys.argv[1]).image
for query in ({}, {"limit": 4}, {"limit": 3, "sort_key": "name", "sort_dir": "asc"}):
    print(*(image.name for image in images.images(**query)))
print(images.find_image("each-1-cloud-2").id == images.get_image(sys.argv[2]).id)
"""


def test_openstacksdk_pages_through_both_clouds(clouds: Clouds, tmp_path: Path) -> None:
    """A program gets what it gets of one cloud, and a warning for each page that lacks a cloud."""
    entry = yaml.safe_load((clouds.root / "clouds.yaml").read_text())["clouds"][HOME]
    entry["x_scope"] = f"glance: {HOME} & {OTHER} & off"
    entry["vendor_hook"] = "scopeway.control_plane.openstack_client.hook:attach_scope"
    config = tmp_path / "clouds.yaml"
    config.write_text(yaml.safe_dump({"clouds": {"both": entry}}))
    image = listed(clouds, "-c", "ID", "--property", f"name=each-1-{OTHER}")[0]

    done = subprocess.run(
        [clouds.environment / "bin" / "python", "-c", PROGRAM, "both", image],
        env=clean_environment(OS_CLIENT_CONFIG_FILE=str(config)),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    *pages, found = done.stdout.splitlines()
    for names in pages:
        each_once(names.split())
    assert pages[2].split() == sorted(pages[2].split())
    assert found == "True"
    assert set(done.stderr.splitlines()) == {NOT_REACHED}


def listed(clouds: Clouds, *more: str, scope: str = BOTH) -> list[str]:
    """Return what `openstack image list` prints."""
    status, output = clouds.command("image", "list", "-f", "value", *more, "--scope", scope)
    assert status == 0, output
    return output.splitlines()


def each_once(names: list[str]) -> None:
    """Check that the images of this module are there, each once."""
    found = [name for name in names if name.startswith("each-") or name == "same"]
    assert sorted(found) == sorted(["same", *(f"{n}-{c}" for c in (HOME, OTHER) for n in NAMES)])

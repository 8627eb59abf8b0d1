"""One request for several whole clouds: images and servers made, listed, shown and deleted.

Shows what is the same in all clouds (an image's id) and what is each cloud's own (a server's id),
and what a user hears when one of them refuses.
"""

import re

from demo import commands
from demo.commands import Result
from demo.full.environment import IMAGES, SHARED_FLAVOR
from demo.full.scenario import FIELDS, Scene, expect

TWO_GLANCES = "{keystone:cloud-1; glance:cloud-1 & cloud-2}"
ALL_GLANCES = "{keystone:cloud-1; glance:&[fleet=demo]}"
TWO_NOVAS = "{keystone:cloud-1; glance:cloud-1; nova:cloud-1 & cloud-999; neutron:cloud-1}"
ADMINISTRATOR = "cloud-1-admin"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def tell(scene: Scene) -> None:
    """Does all of it, in this order."""
    image = create_image(scene)
    list_all(scene)
    delete_image(scene, image)
    done_in_part(scene)
    servers(scene)


def create_image(scene: Scene) -> str:
    """An image in two clouds, with one id; that id."""
    scene.screen.say("an image in two clouds by one command, with one id:")
    made = scene.openstack("image", "create", "everywhere", scope=TWO_GLANCES, fields=FIELDS)
    image = commands.field_values(made.output).get("id", "")
    shown = scene.openstack(
        *("image", "show", image, "-c", "id", "-c", "name", "-c", "properties"),
        scope=TWO_GLANCES,
    )
    expect(image in shown.output, "the image is not shown")
    for cloud in ("cloud-1", "cloud-2"):
        listed = commands.run_quietly(
            scene.stage, "image", "list", "--scope", f"{{glance:{cloud}}}"
        )
        expect(image in listed.output, f"{cloud} does not have the image {image}")
    return image


def list_all(scene: Scene) -> None:
    """The images of all clouds; the replicated one is there once."""
    scene.screen.say("the images of every cloud with the label fleet=demo:")
    listed = scene.openstack("image", "list", scope=ALL_GLANCES).output
    for name in (*IMAGES.values(), "everywhere"):
        count = listed.count(f" {name} ")
        expect(count == 1, f"{name!r} is {count} times in the list")


def delete_image(scene: Scene, image: str) -> None:
    """The image is gone in both clouds."""
    scene.openstack("image", "delete", image, scope=TWO_GLANCES)
    for cloud in ("cloud-1", "cloud-2"):
        listed = commands.run_quietly(
            scene.stage, "image", "list", "--scope", f"{{glance:{cloud}}}"
        )
        expect(image not in listed.output, f"{cloud} still has the image {image}")


def done_in_part(scene: Scene) -> None:
    """A public image by cloud-1's administrator, whose role counts at cloud-1 only."""
    scene.screen.say("what one cloud refuses is no success, and says what was done where:")
    result = _as_administrator(scene, "image", "create", "--public", "official")
    expect(result.status != 0, "a creation that cloud-2 refused did not fail")
    expect("done at cloud-1" in result.output, "it is not said what was done")
    expect("failed at cloud-2" in result.output, "it is not said what was not done")
    made = _ID.search(result.output)
    expect(made is not None, "the id of what was made is not said")
    assert made is not None
    scene.openstack(
        "image", "delete", made[0], scope="{keystone:cloud-1;glance:cloud-1}", cloud=ADMINISTRATOR
    )


def servers(scene: Scene) -> None:
    """A server in each of two clouds: they have ids of their own."""
    scene.screen.say("a server in two clouds; each Nova gives it an id of its own:")
    made = scene.openstack(
        *("server", "create", "--image", IMAGES["cloud-1"]),
        *("--flavor", str(SHARED_FLAVOR["name"]), "--nic", "none", "twin"),
        scope=TWO_NOVAS,
        fields=FIELDS,
    )
    expect("twin" in made.output, "no server was made")
    listed = scene.openstack("server", "list", "-c", "ID", "-c", "Name", scope=TWO_NOVAS).output
    ids = [_ID.search(line) for line in listed.splitlines() if " twin " in line]
    twins = sorted(found[0] for found in ids if found is not None)
    expect(len(twins) == 2, f"there are {len(twins)} servers named 'twin', not 2")
    for server in twins:
        scene.openstack("server", "show", server, scope=TWO_NOVAS, fields=FIELDS)
        at = [cloud for cloud in ("cloud-1", "cloud-999") if scene.state(server, cloud)]
        expect(len(at) == 1, f"the server {server} is at {at}")
        scene.wait_for(server, at[0], "active")
        scene.openstack("server", "delete", server, scope=TWO_NOVAS)
        scene.wait_for(server, at[0], "deleted")


def _as_administrator(scene: Scene, *arguments: str) -> Result:
    scoped = (*arguments, "--scope", TWO_GLANCES)
    return commands.openstack(scene.stage, scene.screen, *scoped, env={"OS_CLOUD": ADMINISTRATOR})

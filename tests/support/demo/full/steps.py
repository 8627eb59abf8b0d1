"""The steps of the demo with whole clouds; each fails unless what it shows is as it should be.

Owns the steps with servers (1, 2, 3, 5) and a shared image (6); the big image (4), openstacksdk (7)
and volumes have files of their own, as have the figures at the end. Tests run the same steps: a
step is a function that needs nothing but the running clouds and the servers that it names.
"""

from demo import commands
from demo.console import Screen
from demo.environment import Stage
from demo.full import all_at_once, big_image, measurements, sdk, volumes
from demo.full.environment import IMAGES
from demo.full.scenario import FIELDS, Scene, expect
from demo.trace import Hop

HEADLINE_SCOPE = "{keystone:cloud-1;glance:cloud-999}"
THREE_CLOUDS = "{keystone:cloud-1;glance:cloud-2;nova:cloud-999}"
WITH_NETWORK = "{keystone:cloud-1;glance:cloud-2;nova:cloud-999;neutron:cloud-999}"
SHARING = "{keystone:cloud-1;glance:cloud-2}"
OF_NOVA_COMPUTE = "front/image"
"""The listener that only nova-compute is told of; see `files.nova_compute_conf`."""


def tell(stage: Stage, screen: Screen) -> None:
    """Runs the steps.

    Raises:
        DemoError: an answer wasn't the expected one.
    """
    scene = Scene(stage, screen)
    with screen.step("Before: no scope, an image of cloud-1"):
        plain = boot_at_home(scene, "plain1")
    with screen.step("1. The image is at cloud-999 only, the server at cloud-1"):
        cirros = headline(scene)
    with screen.step("2. Identity, image and server at three clouds"):
        without, with_port = three_clouds(scene), three_clouds_and_network(scene)
    with screen.step("3. `server rescue`: nova-compute fetches the image of cloud-999"):
        rescue(scene, "plain1", plain)
    with screen.step("4. 1 GB to another cloud and back"):
        big_image.tell(scene)
    with screen.step("5. Snapshots, lists and deletion, with and without a scope"):
        screen.say("(Nova's fake driver has no disk to upload: the image stays `queued`)")
        snapshot(scene, "cirros1", "snap-far", scope=HEADLINE_SCOPE)
        snapshot(scene, "plain1", "snap-near", scope=None)
        lists(scene)
        delete(scene, {"cirros1": cirros}, at="cloud-1", scope=HEADLINE_SCOPE)
        delete(scene, {"plain1": plain}, at="cloud-1", scope=None)
        delete(scene, {"deb1": without, "deb2": with_port}, at="cloud-999", scope=WITH_NETWORK)
    with screen.step("6. An image of cloud-2 is shared by a project of cloud-1"):
        share(scene)
    with screen.step("7. openstacksdk alone, without our plug-in"):
        sdk.tell(scene)
    with screen.step("8. All of them at once: images and servers of several clouds"):
        all_at_once.tell(scene)
    with screen.step("And volumes: a server at cloud-1, its disk in cloud-2's Cinder"):
        volumes.tell(scene)
    with screen.step("What it costs"):
        measurements.tell(scene)


def boot_at_home(scene: Scene, name: str) -> str:
    """Everything at cloud-1, as without Scopeway; the server's id."""
    return scene.boot(name, "--image", IMAGES["cloud-1"], at="cloud-1")


def headline(scene: Scene) -> str:
    """The command that started the project makes `cirros1`; its id."""
    scene.logs.news()
    server = scene.boot("cirros1", "--image", "cirros", scope=HEADLINE_SCOPE, at="cloud-1")
    hops = scene.trace(everything=True)
    images = [hop for hop in hops if _fetches_image(hop)]
    expect(bool(images), "the trace has no request for the image")
    expect(
        all(hop.served_by == "cloud-999" for hop in images),
        f"images were served by {[hop.served_by for hop in images]}",
    )
    expect(
        any(hop.site == "cloud-999" and hop.served_by == "cloud-1" for hop in hops),
        "cloud-999 had no token validated by cloud-1",
    )
    return server


def three_clouds(scene: Scene) -> str:
    """The scope of step 2, word for word, makes `deb1`; its id.

    Without a network: that is left unbound, and so is the origin's, where Nova's own user of
    cloud-999 is nobody.
    """
    scene.logs.news()
    options = ("--image", IMAGES["cloud-2"], "--nic", "none")
    server = scene.boot("deb1", *options, scope=THREE_CLOUDS, at="cloud-999")
    hops = scene.trace()
    served = {hop.service: hop.served_by for hop in hops}
    expect(served.get("image") == "cloud-2", f"image was served by {served.get('image')}")
    expect(served.get("compute") == "cloud-999", f"compute: {served.get('compute')}")
    return server


def three_clouds_and_network(scene: Scene) -> str:
    """The same with a network there makes `deb2`, which has an address; its id."""
    scene.screen.say("what the scope leaves unbound stays at cloud-1, the network too:")
    said = scene.explain(THREE_CLOUDS, "network")
    expect("bind network too" in said, "`explain` doesn't warn of the unbound network")
    scene.screen.say("so a server with a port wants it bound:")
    options = ("--image", IMAGES["cloud-2"])
    return scene.boot("deb2", *options, scope=WITH_NETWORK, at="cloud-999", show=("addresses",))


def rescue(scene: Scene, name: str, server: str) -> None:
    """Rescues a server of cloud-1 with an image of cloud-999, and ends that again."""
    scene.logs.news()
    scene.openstack("server", "rescue", "--image", "cirros", name, scope=HEADLINE_SCOPE)
    scene.wait_for(server, "cloud-1", "rescued")
    hops = scene.trace()
    scene.screen.say(
        f"`{OF_NOVA_COMPUTE}` is a port of the front that only nova-compute's configuration names"
    )
    by_compute = [hop for hop in hops if hop.listener == OF_NOVA_COMPUTE and _fetches_image(hop)]
    expect(bool(by_compute), "nova-compute did not ask for the rescue image")
    expect(
        all(hop.served_by == "cloud-999" for hop in by_compute),
        f"nova-compute got the rescue image from {[hop.served_by for hop in by_compute]}",
    )
    scene.openstack("server", "unrescue", name)
    scene.wait_for(server, "cloud-1", "active")


def snapshot(scene: Scene, server: str, name: str, *, scope: str | None) -> None:
    """Makes an image of a server of cloud-1, in the cloud that the scope names and no other."""
    result = scene.openstack(
        *("server", "image", "create", "--name", name, server), scope=scope, fields=FIELDS
    )
    made = commands.field_values(result.output).get("id", "")
    expect(made != "", f"no image {name!r} was made")
    for where in (None, HEADLINE_SCOPE):
        listed = scene.openstack("image", "list", "--private", scope=where).output
        expect(
            (made in listed) == (where == scope),
            f"{name!r} is{'' if made in listed else ' not'} in the list with the scope {where}",
        )


def lists(scene: Scene) -> None:
    """Lists servers with the names of their images, here, with images there, and there."""
    near = scene.openstack("server", "list", "--long", *COLUMNS)
    far = scene.openstack("server", "list", "--long", *COLUMNS, scope=HEADLINE_SCOPE)
    expect(f" {IMAGES['cloud-1']} " in near.output, "the list does not name the image of plain1")
    expect(" cirros " in far.output, "the list does not name the image of cirros1")
    there = scene.openstack("server", "list", "--long", *COLUMNS, scope=WITH_NETWORK)
    expect("deb1" in there.output and "plain1" not in there.output, "not the list of cloud-999")


def share(scene: Scene) -> None:
    """Shares an image of cloud-2 with another project of cloud-1, and with one of cloud-2 itself.

    Each user says the id that her own cloud knows. Glance gets those that it knows.
    """
    made = scene.openstack("image", "create", "--shared", "ours", scope=SHARING, fields=FIELDS)
    image = commands.field_values(made.output)["id"]
    scene.screen.say("with the project of cloud-1's administrator, by the id that it has at home:")
    project = _project_of(scene, "cloud-1-admin")
    _invite(scene, image, project, "cloud-1-admin", scope=SHARING)
    scene.screen.say("with a project of cloud-2, whose id says so:")
    project = _project_of(scene, "cloud-2")
    _invite(scene, image, f"{project}@cloud-2", "cloud-2", scope=None)
    members = scene.openstack("image", "member", "list", image, scope=SHARING).output
    expect(members.count("accepted") == 2, "the image has not two members who have accepted")
    scene.openstack("image", "delete", image, scope=SHARING)


def _project_of(scene: Scene, user: str) -> str:
    """The id that the project of a user, an entry of `clouds.yaml`, has at home."""
    shown = scene.openstack("token", "issue", cloud=user, fields=("project_id",)).output
    return commands.field_values(shown)["project_id"]


def _invite(scene: Scene, image: str, project: str, guest: str, *, scope: str | None) -> None:
    scene.openstack("image", "add", "project", image, project, scope=SHARING)
    scene.openstack("image", "set", "--accept", image, scope=scope, cloud=guest)
    listed = scene.openstack("image", "list", "--shared", scope=scope, cloud=guest).output
    expect(image in listed, f"{guest} does not see the image")


def delete(scene: Scene, servers: dict[str, str], *, at: str, scope: str | None) -> None:
    """Deletes servers; the cloud that has them knows that they are gone.

    Args:
        servers: Name to id.
    """
    scene.openstack("server", "delete", "--wait", *servers, scope=scope)
    for server in servers.values():
        scene.wait_for(server, at, "deleted")


def _fetches_image(hop: Hop) -> bool:
    return hop.service == "image" and "/v2/images/" in hop.path and hop.status == 200


COLUMNS = tuple(
    part for name in ("Name", "Status", "Networks", "Image Name", "Flavor") for part in ("-c", name)
)
"""Of `server list --long`: what fits on a screen."""

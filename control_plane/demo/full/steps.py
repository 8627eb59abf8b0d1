"""The six steps of the demo with whole clouds; each fails unless what it shows is as it should be.

Owns the steps with servers (1, 2, 3, 5); the big image (4) and openstacksdk (6) have files of their
own, as have the figures at the end.
"""

from control_plane.demo import commands
from control_plane.demo.full import big_image, figures, sdk
from control_plane.demo.full.scene import FIELDS, Scene, expect
from control_plane.demo.full.stage import IMAGES
from control_plane.demo.screen import Screen
from control_plane.demo.stage import Stage
from control_plane.demo.trace import Hop

HEADLINE_SCOPE = "{keystone:cloud-1;glance:cloud-999}"
THREE_CLOUDS = "{keystone:cloud-1;glance:cloud-2;nova:cloud-999}"
WITH_NETWORK = "{keystone:cloud-1;glance:cloud-2;nova:cloud-999;neutron:cloud-999}"


def tell(stage: Stage, screen: Screen) -> None:
    """Runs the steps.

    Raises:
        DemoError: an answer wasn't the expected one.
    """
    scene = Scene(stage, screen)
    with screen.step("Before: no scope, an image of cloud-1"):
        plain = scene.boot("plain1", IMAGES["cloud-1"], at="cloud-1")
    with screen.step("1. The image is at cloud-999 only, the server at cloud-1"):
        cirros = _headline(scene)
    with screen.step("2. Identity, image and server at three clouds"):
        _three_clouds(scene)
    with screen.step("3. `server rescue`: nova-compute fetches the image of cloud-999"):
        _rescue(scene, plain)
    with screen.step("4. 1 GB to another cloud and back"):
        big_image.tell(scene)
    with screen.step("5. Snapshots, lists and deletion, with and without a scope"):
        _snapshots(scene)
        _lists(scene)
        _deletions(scene, plain, cirros)
    with screen.step("6. openstacksdk alone, without our plug-in"):
        sdk.tell(scene)
    with screen.step("What it costs"):
        figures.tell(scene)


def _headline(scene: Scene) -> str:
    scene.logs.news()
    server = scene.boot("cirros1", "cirros", scope=HEADLINE_SCOPE, at="cloud-1")
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


def _three_clouds(scene: Scene) -> None:
    image = IMAGES["cloud-2"]
    scene.logs.news()
    scene.boot("deb1", image, "--nic", "none", scope=THREE_CLOUDS, at="cloud-999")
    scene.trace()
    scene.screen.say(
        "Unbound is the origin's: without `--nic none` Nova at cloud-999 would be given a port of"
        " cloud-1's Neutron, which it cannot bind. So `compute` elsewhere wants `network` there:"
    )
    scene.boot("deb2", image, scope=WITH_NETWORK, at="cloud-999", show=("addresses",))


def _rescue(scene: Scene, server: str) -> None:
    scene.logs.news()
    scene.openstack("server", "rescue", "--image", "cirros", "plain1", scope=HEADLINE_SCOPE)
    scene.wait_for(server, "cloud-1", "rescued")
    hops = scene.trace()
    expect(
        any(_fetches_image(hop) for hop in hops),
        "the rescue image was not fetched from another cloud",
    )
    scene.openstack("server", "unrescue", "plain1")
    scene.wait_for(server, "cloud-1", "active")


def _snapshots(scene: Scene) -> None:
    scene.screen.say("(Nova's fake driver has no disk to upload: the image stays `queued`)")
    for server, name, scope, cloud in (
        ("cirros1", "snap-far", HEADLINE_SCOPE, "cloud-999"),
        ("plain1", "snap-near", None, "cloud-1"),
    ):
        result = scene.openstack(
            *("server", "image", "create", "--name", name, server), scope=scope, fields=FIELDS
        )
        made = commands.field_values(result.output).get("id", "")
        expect(made != "", f"no image {name!r} was made")
        listed = scene.openstack("image", "list", "--private", scope=scope)
        expect(name in listed.output, f"{name!r} is not in the list of {cloud}")
    here = scene.openstack("image", "list", "--private")
    expect("snap-far" not in here.output, "the snapshot of cloud-999 is at cloud-1 as well")


def _lists(scene: Scene) -> None:
    near = scene.openstack("server", "list", "--long", *COLUMNS)
    far = scene.openstack("server", "list", "--long", *COLUMNS, scope=HEADLINE_SCOPE)
    expect(IMAGES["cloud-1"] in near.output, "the list does not name the image of plain1")
    expect("cirros " in far.output, "the list does not name the image of cirros1")
    there = scene.openstack("server", "list", "--long", *COLUMNS, scope=WITH_NETWORK)
    expect("deb1" in there.output and "plain1" not in there.output, "not the list of cloud-999")


def _deletions(scene: Scene, plain: str, cirros: str) -> None:
    scene.openstack("server", "delete", "--wait", "cirros1", scope=HEADLINE_SCOPE)
    scene.openstack("server", "delete", "--wait", "plain1")
    scene.openstack("server", "delete", "--wait", "deb1", "deb2", scope=WITH_NETWORK)
    for server in (cirros, plain):
        scene.wait_for(server, "cloud-1", "deleted")


def _fetches_image(hop: Hop) -> bool:
    return hop.service == "image" and "/v2/images/" in hop.path and hop.status == 200


COLUMNS = tuple(
    part for name in ("Name", "Status", "Networks", "Image Name", "Flavor") for part in ("-c", name)
)
"""Of `server list --long`: what fits on a screen."""

"""Volumes of another cloud: a server at cloud-1 whose disk is in the Cinder of cloud-2.

Shows what Nova asks Cinder in the user's name, with the project's id in the path, and how a volume
is free again: Cinder lets go of one in use only when a service of its own cloud says so, or where
its Nova doesn't know the server; so the cloud's administrator frees it (docs/demo-openstack.md).
"""

import re

from demo import commands
from demo.full.scenario import Scene, expect

SCOPE = "{keystone:cloud-1;cinder:cloud-2}"
AT = "cloud-2"
ADMINISTRATOR = "cloud-2-admin"
PROJECT_IN_PATH = re.compile(r"/v3/[0-9a-f]{32}/attachments$")
FIELDS = ("id", "name", "size", "status")
ATTACHMENTS = ("--os-volume-api-version", "3.27")
"""The first version in which a client can ask for attachments."""


def tell(scene: Scene) -> None:
    """Boots from a volume, attaches another one, deletes the server, frees both volumes."""
    root, data = create(scene, "root", "--bootable"), create(scene, "data")
    server = boot(scene)
    attach(scene, server, data)
    scene.openstack("server", "delete", "--wait", "disk1", scope=SCOPE)
    free(scene, root, data)


def create(scene: Scene, name: str, *options: str) -> str:
    """Makes a volume at cloud-2 as alice of cloud-1; its id."""
    result = scene.openstack(
        *("volume", "create", "--size", "1", *options, name), scope=SCOPE, fields=FIELDS
    )
    volume = commands.field_values(result.output).get("id", "")
    scene.wait_for(volume, AT, "available", kind="volume")
    return volume


def boot(scene: Scene) -> str:
    """A server at cloud-1 from the volume `root`; its id."""
    scene.logs.news()
    server = scene.boot("disk1", "--volume", "root", scope=SCOPE, at="cloud-1")
    hops = [hop for hop in scene.trace() if hop.service == "block-storage"]
    expect(bool(hops), "Nova did not ask for the volume")
    expect(
        all(hop.served_by == "cloud-2" for hop in hops),
        f"volumes were served by {[hop.served_by for hop in hops]}",
    )
    reserved = [hop for hop in hops if hop.method == "POST" and hop.path.endswith("/attachments")]
    expect(bool(reserved), "Nova's API did not reserve the volume")
    expect(
        all(PROJECT_IN_PATH.search(hop.path) for hop in reserved),
        f"no project's id in {[hop.path for hop in reserved]}",
    )
    expect(any(hop.method == "PUT" for hop in hops), "nova-compute did not connect the volume")
    return server


def attach(scene: Scene, server: str, volume: str) -> None:
    """Attaches a volume of cloud-2 to a server of cloud-1."""
    scene.openstack("server", "add", "volume", server, volume, scope=SCOPE)
    scene.wait_for(volume, AT, "in-use", kind="volume")


def free(scene: Scene, *volumes: str) -> None:
    """Ends the attachments that deleted servers have left, and deletes the volumes."""
    scene.screen.say(
        "cloud-2's Cinder does not believe a Nova of cloud-1 that these are free: its administrator"
        " says so, once the server is gone"
    )
    listed = scene.openstack(
        *(*ATTACHMENTS, "volume", "attachment", "list", "--all-projects"),
        *("-f", "value", "-c", "ID"),
        cloud=ADMINISTRATOR,
    )
    for attachment in listed.output.split():
        scene.openstack(
            *(*ATTACHMENTS, "volume", "attachment", "delete", attachment), cloud=ADMINISTRATOR
        )
    for volume in volumes:
        scene.wait_for(volume, AT, "available", kind="volume")
    scene.openstack("volume", "delete", *volumes, scope=SCOPE)

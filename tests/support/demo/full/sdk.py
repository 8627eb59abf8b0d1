"""Step 6: the boot of step 1 by a program that uses openstacksdk and cannot send a header.

The scope is in a token, or in the URL of `clouds.yaml`; identities are a password, and application
credentials with and without access rules.
"""

import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import yaml

from demo import commands
from demo.errors import DemoError
from demo.full.scenario import Scene, expect
from demo.openstack import log_in
from demo.openstack_files import MEMBER, PROJECT
from demo.site import PASSWORD

SCOPE = "{keystone:cloud-1;glance:cloud-999}"
PROGRAM = Path(__file__).with_name("boot_with_sdk.py")
PROGRAM_SECONDS = 180
WAYS = (
    ("with-token", "a token that was fetched with the scope"),
    ("with-url", "the scope in the auth_url"),
    ("with-credential", "an application credential, the scope in the auth_url"),
    ("with-rules", "one with access rules"),
)
"""Entry of `clouds.yaml` to what carries the scope."""
RULES = (
    ("image", "GET", "/image/v2/images"),
    ("image", "GET", "/image/v2/images/*"),
    ("image", "GET", "/image/v2/schemas/image"),
    ("compute", "GET", "/compute/v2.1/flavors/**"),
    ("compute", "POST", "/compute/v2.1/servers"),
    ("compute", "GET", "/compute/v2.1/servers/*"),
    ("network", "GET", "/network/v2.0/**"),
    ("network", "POST", "/network/v2.0/ports"),
    ("network", "DELETE", "/network/v2.0/ports/*"),
)
"""What booting needs: the user's own requests, and Nova's to Glance and Neutron in their name.

Services see the path with the prefix of the front.
"""


def tell(scene: Scene) -> None:
    """Boots four times."""
    screen = scene.screen
    screen.say(f"the program, {PROGRAM.name}:")
    body = PROGRAM.read_text().partition("    cloud, image")[2].partition("\n\n\n")[0]
    screen.output("    cloud, image" + body)
    write_entries(scene)
    for cloud, what in WAYS:
        screen.say(f"{what}:")
        boot(scene, cloud)


def write_entries(scene: Scene) -> None:
    """Adds an entry to `clouds.yaml` for each of the `WAYS`."""
    clouds = _clouds(scene)
    scene.stage.clouds_yaml.write_text(
        yaml.safe_dump(
            yaml.safe_load(scene.stage.clouds_yaml.read_text()) | {"clouds": clouds},
            sort_keys=False,
        )
    )


def _clouds(scene: Scene) -> dict[str, object]:
    """All entries of `clouds.yaml`, those for this step besides."""
    front = scene.site("cloud-1").front_url
    scoped_url = f"{front}/~{quote(SCOPE, safe=':;')}/identity/v3"
    token = log_in(f"{front}/identity/v3", user=MEMBER, project=PROJECT, scope=SCOPE)
    domain = {"user_domain_name": "Default", "project_domain_name": "Default"}
    password = {"username": MEMBER, "password": PASSWORD, "project_name": PROJECT, **domain}
    present: dict[str, object] = yaml.safe_load(scene.stage.clouds_yaml.read_text())["clouds"]
    made: dict[str, tuple[str, dict[str, object]]] = {
        "with-token": (
            "v3token",
            {
                "auth_url": f"{front}/identity/v3",
                "token": token,
                "project_name": PROJECT,
                "project_domain_name": "Default",
            },
        ),
        "with-url": ("v3password", {"auth_url": scoped_url, **password}),
        "with-credential": (
            "v3applicationcredential",
            {"auth_url": scoped_url, **_credential(scene, "all", None)},
        ),
        "with-rules": (
            "v3applicationcredential",
            {"auth_url": scoped_url, **_credential(scene, "rules", RULES)},
        ),
    }
    return present | {
        name: {"auth_type": kind, "identity_api_version": 3, "auth": auth}
        for name, (kind, auth) in made.items()
    }


def _credential(
    scene: Scene, name: str, rules: tuple[tuple[str, str, str], ...] | None
) -> dict[str, object]:
    options: tuple[str, ...] = ()
    if rules is not None:
        documents = [
            {"service": service, "method": method, "path": path} for service, method, path in rules
        ]
        file = scene.stage.root / "access-rules.json"
        file.write_text(json.dumps(documents, indent=1))
        options = ("--access-rules", str(file))
    result = scene.openstack(
        *("application", "credential", "create", *options, name), fields=("ID", "Name", "Roles")
    )
    values = commands.field_values(result.output)
    expect({"ID", "Secret"} <= values.keys(), "no application credential was made")
    return {
        "application_credential_id": values["ID"],
        "application_credential_secret": values["Secret"],
    }


def boot(scene: Scene, cloud: str) -> None:
    """Boots a server at cloud-1 from the image of cloud-999 by the program."""
    screen = scene.screen
    name = f"sdk-{cloud}"
    screen.command(f"python {PROGRAM.name} {cloud} cirros {name}")
    python = scene.stage.openstack / "bin" / "python"
    with screen.working():
        done = subprocess.run(
            # -I: without the working folder, in which there may be a Scopeway
            [str(python), "-I", str(PROGRAM), cloud, "cirros", name],
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            env=scene.stage.client_environment(),
            check=False,
        )
    if done.returncode != 0:
        raise DemoError(f"{PROGRAM.name} {cloud}: {done.stderr.strip()[-2000:]}")
    screen.output(done.stdout)
    server, _, status = done.stdout.strip().partition(" ")
    expect(status == "ACTIVE", f"{name} is {status!r}")
    expect(scene.state(server, "cloud-1") == "active", f"{name} is not at cloud-1")

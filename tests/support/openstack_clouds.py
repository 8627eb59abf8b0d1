"""What tests do with real clouds: log in, send requests, run the `openstack` command."""

import os
import pty
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.openstack import log_in
from demo.openstack_files import ADMIN, KEYSTONE_POLICY_FILE, MEMBER, PROJECT
from demo.site import PASSWORD, Site
from demo.sites import ControlPlane
from harness.http import Response, request
from harness.ports import ADDRESS
from harness.process import Process, clean_environment, tail
from harness.supervisor import Supervisor

CLOUDS = ("cloud-1", "cloud-2")
SECURE = "secure"
"""A site with the services of the home cloud whose front speaks TLS, also on a port for each."""
HOME, OTHER = CLOUDS
AT_OTHER = f"{{glance:{OTHER}}}"
IMAGES = "/image/v2/images"
TOKENS = "/identity/v3/auth/tokens"
COMMAND_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Clouds:
    """The running clouds, their users being those of the demo."""

    root: Path
    environment: Path
    supervisor: Supervisor
    plane: ControlPlane
    sites: dict[str, Site]
    envoys: dict[str, Process]

    def identity(self, cloud: str = HOME) -> str:
        """The identity endpoint of a cloud's front."""
        return f"{self.sites[cloud].front_url}/identity/v3"

    def member(self, cloud: str = HOME, *, scope: str | None = None) -> str:
        """A token of the demo's user."""
        return log_in(self.identity(cloud), user=MEMBER, project=PROJECT, scope=scope)

    def admin(self, cloud: str = HOME, *, scope: str | None = None) -> str:
        """A token of the administrator."""
        return log_in(self.identity(cloud), user=ADMIN, project=ADMIN, scope=scope)

    def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        *,
        cloud: str = HOME,
        scope: str | None = None,
        document: object | None = None,
        data: bytes | None = None,
        **headers: str,
    ) -> Response:
        """One request to a cloud's front."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["X-Auth-Token"] = token
        if scope is not None:
            sent["X-Scope"] = scope
        url = self.sites[cloud].front_url + path
        return request(method, url, headers=sent, document=document, data=data)

    def validated(self, token: str) -> Any:
        """What the cloud itself says of a token of its own."""
        return self.ask("GET", TOKENS, token, X_Subject_Token=token).json["token"]

    def trust_token(self, *, impersonation: bool) -> str:
        """The administrator's token for what the member of the home cloud has trusted it with."""
        token = self.member()
        trustor = self.validated(token)
        trust = {
            "trustor_user_id": trustor["user"]["id"],
            "trustee_user_id": self.validated(self.admin())["user"]["id"],
            "project_id": trustor["project"]["id"],
            "impersonation": impersonation,
            "roles": [{"name": "member"}],
        }
        path = "/identity/v3/OS-TRUST/trusts"
        made: Any = self.ask("POST", path, token, document={"trust": trust}).json
        user = {"name": ADMIN, "domain": {"name": "Default"}, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"OS-TRUST:trust": {"id": made["trust"]["id"]}}
        login = {"auth": {"identity": identity, "scope": scope}}
        answer = self.ask("POST", TOKENS, document=login)
        assert answer.status == 201, answer
        return str(answer.headers["x-subject-token"])

    @contextmanager
    def default_keystone_policy(self) -> Iterator[None]:
        """The home's Keystone has no policy of its own meanwhile."""
        policy = self.sites[HOME].folder / KEYSTONE_POLICY_FILE
        text = policy.read_text()
        policy.write_text("{}")
        try:
            yield
        finally:
            policy.write_text(text)

    def admin_page(self, port: int, path: str) -> str:
        """A page of an Envoy's admin interface."""
        return request("GET", f"http://127.0.0.1:{port}{path}").body.decode()

    def await_cloud(self, name: str) -> None:
        """Returns when the front of the home cloud knows a cloud that was just registered."""
        deadline = time.monotonic() + COMMAND_SECONDS
        while self.ask("GET", "/identity/v3", scope=f"keystone:{name}").status == 404:
            assert time.monotonic() < deadline, f"{name} is still unknown"
            time.sleep(0.05)

    def command(self, *arguments: str, terminal: bool = False, **variables: str) -> tuple[int, str]:
        """Runs `openstack` at cloud-1; its status and everything it printed.

        Without a `terminal` for its standard input, `image create` uploads what that has: nothing.
        """
        settings = {"OS_CLIENT_CONFIG_FILE": str(self.root / "clouds.yaml"), "OS_CLOUD": HOME}
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [str(self.environment / "bin" / "openstack"), *arguments],
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            env=clean_environment(**(settings | variables)),
            check=False,
        )
        os.close(ours)
        os.close(theirs)
        return done.returncode, done.stdout.strip()


def print_logs(*folders: Path) -> None:
    """Shows the ends of all logs in these folders."""
    for folder in folders:
        for log in sorted(folder.glob("*.log")):
            print(f"==> {folder.name}/{log.name}\n{tail(log)}")


def neighbour(name: str, services: Any, users: list[str]) -> dict[str, Any]:
    """The manifest of a cloud without an Envoy, which only some clouds may use."""
    return {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": name},
        "spec": {
            "services": {
                service: {"endpoints": [{"address": ADDRESS, "port": port}]}
                for service, port in services.items()
            },
            "accept": [{"clouds": users}],
        },
    }


def new_image(name: str, **more: str) -> dict[str, str]:
    """The request for an image without data."""
    return {"name": name, "disk_format": "raw", "container_format": "bare", **more}


def debian_is_listed(answer: Response) -> bool:
    """Whether the other cloud's image is in Glance's list."""
    return "debian" in image_names(answer)


def image_names(answer: Response) -> list[str]:
    """The names in Glance's list of images."""
    assert answer.status == 200, answer
    images: Any = answer.json["images"]
    return [image["name"] for image in images]

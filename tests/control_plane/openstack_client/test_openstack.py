"""The real `openstack` command with `--scope`, against a server that writes down what it is asked.

The server is a stand-in for a cloud, to see the headers; the demo uses real services.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PASSWORD = {
    "OS_USERNAME": "u",
    "OS_PASSWORD": "p",
    "OS_PROJECT_NAME": "p",
    "OS_USER_DOMAIN_NAME": "Default",
    "OS_PROJECT_DOMAIN_NAME": "Default",
}


@dataclass
class Recorder:
    """A cloud of Keystone and Glance, empty, that keeps the X-Scope headers of each request."""

    url: str = ""
    requests: list[tuple[str, list[str] | None]] = field(default_factory=list)
    required: set[str | None] = field(default_factory=set)
    images: dict[str, object] = field(default_factory=lambda: {"images": []})
    """The answer to a listing or creation of images, with this status and these headers."""
    pages: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def scopes(self) -> set[str | None]:
        return {",".join(scopes) if scopes else None for _, scopes in self.requests}

    def answer(self, path: str) -> dict[str, object]:
        if path.endswith("/auth/tokens"):
            return {"token": self.token()}
        if "/v2/images" in path:
            self.pages -= 1
            next_page = {"next": f"/v2/images?marker={self.pages}"} if self.pages > 0 else {}
            return {**next_page, **self.images}
        service, version = ("identity", "v3") if "identity" in path else ("image", "v2")
        links = [{"rel": "self", "href": f"{self.url}/{service}/{version}"}]
        about = {"id": f"{version}.9", "status": "CURRENT", "links": links}
        return {"version": about} if service == "identity" else {"versions": [about]}

    def token(self) -> dict[str, object]:
        domain = {"id": "default", "name": "Default"}
        image = {"id": "2", "interface": "public", "region": "r", "url": f"{self.url}/image"}
        return {
            "methods": ["password"],
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "u", "domain": domain},
            "project": {"id": "p", "name": "p", "domain": domain},
            "roles": [],
            "catalog": [{"id": "1", "type": "image", "name": "glance", "endpoints": [image]}],
        }


@pytest.fixture
def cloud() -> Iterator[Recorder]:
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            recorder.requests.append((self.path, self.headers.get_all("X-Scope")))
            body = json.dumps(recorder.answer(self.path)).encode()
            recorder.required.add(self.headers.get("X-Scope-Require"))
            of_images = "/v2/images" in self.path
            status = 201 if self.command == "POST" else 200
            self.send_response((of_images and recorder.status) or status)
            self.send_header("X-Subject-Token", "a-token")
            for name, value in recorder.headers.items() if of_images else ():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield recorder
        server.shutdown()
        thread.join()


def openstack(
    folder: Path, *arguments: str, typed: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command with these variables and no other OS_*, in a folder for its clouds.yaml."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "SCOPEWAY_"))}
    return subprocess.run(
        [sys.executable, "-m", "openstackclient.shell", *arguments],
        env={**inherited, "HOME": str(folder), **variables},
        cwd=folder,
        input=typed,
        capture_output=True,
        text=True,
    )


def clouds_yaml(folder: Path, cloud: Recorder, **more: str) -> None:
    entry = {
        "auth_type": "v3applicationcredential",
        "auth": {
            "auth_url": f"{cloud.url}/identity",
            "application_credential_id": "a",
            "application_credential_secret": "b",
        },
        **more,
    }
    (folder / "clouds.yaml").write_text(json.dumps({"clouds": {"mine": entry}}))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scope", "{keystone:cloud-1; glance:cloud-999}", "image", "list"),
        ("image", "list", "--scope", "{keystone:cloud-1; glance:cloud-999}"),
        (
            "--os-auth-type",
            "v3password",
            "image",
            "list",
            "--scope",
            "image:cloud-999,keystone:cloud-1",
        ),
        (
            "--scope",
            "image:cloud-999,keystone:cloud-1",
            "image",
            "list",
            "--os-auth-type",
            "password",
        ),
    ],
)
def test_every_request_of_the_command_has_the_scope_header(
    tmp_path: Path, cloud: Recorder, arguments: tuple[str, ...]
) -> None:
    run = openstack(tmp_path, *arguments, OS_AUTH_URL=f"{cloud.url}/identity", **PASSWORD)

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {"identity:cloud-1;image:cloud-999"}
    assert {"/identity/v3/auth/tokens", "/image/v2/images"} <= {path for path, _ in cloud.requests}


def test_the_environment_variable_alone_sets_the_scope(tmp_path: Path, cloud: Recorder) -> None:
    run = openstack(
        tmp_path,
        *("image", "list"),
        OS_SCOPE="{glance:cloud-3}",
        OS_AUTH_URL=f"{cloud.url}/identity",
        **PASSWORD,
    )

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {"image:cloud-3"}


def test_requests_of_the_command_without_a_scope_have_no_scope_header(
    tmp_path: Path, cloud: Recorder
) -> None:
    run = openstack(tmp_path, "image", "list", OS_AUTH_URL=f"{cloud.url}/identity", **PASSWORD)

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {None}


def test_the_scope_option_works_with_the_auth_type_of_clouds_yaml(
    tmp_path: Path, cloud: Recorder
) -> None:
    clouds_yaml(tmp_path, cloud)

    run = openstack(tmp_path, "image", "list", "--scope", "glance:a", "--os-cloud", "mine")

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {"image:a"}


def test_the_scope_variable_keeps_the_only_cloud_of_clouds_yaml_as_the_default(
    tmp_path: Path, cloud: Recorder
) -> None:
    clouds_yaml(tmp_path, cloud)

    run = openstack(tmp_path, "image", "list", OS_SCOPE="{glance:a}")

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {"image:a"}


def test_clouds_yaml_can_contain_the_scope(tmp_path: Path, cloud: Recorder) -> None:
    hook = "scopeway.control_plane.openstack_client.hook:attach_scope"
    clouds_yaml(tmp_path, cloud, x_scope="keystone:b; glance:a", vendor_hook=hook)

    run = openstack(tmp_path, "--os-cloud", "mine", "image", "list")

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {"identity:b;image:a"}


def test_the_scope_option_works_without_keystone(tmp_path: Path, cloud: Recorder) -> None:
    run = openstack(
        tmp_path,
        *("--os-auth-type", "none", "--os-endpoint", f"{cloud.url}/image"),
        *("image", "list", "--scope", "glance:a"),
    )

    assert run.returncode == 0, run.stderr
    assert cloud.scopes == {"image:a"}


def test_a_wrong_scope_is_refused_before_any_request(tmp_path: Path, cloud: Recorder) -> None:
    run = openstack(
        tmp_path,
        *("image", "list", "--scope", "{glance:cloud-1 |}"),
        OS_AUTH_URL=f"{cloud.url}/identity",
        **PASSWORD,
    )

    assert run.returncode == 2
    assert run.stderr.rstrip().endswith(
        "error: argument --scope: column 18: a cloud name, 'local', '[' or '(' "
        "is missing between '|' and '}'"
    )
    assert cloud.requests == []


def test_a_wrong_scope_in_clouds_yaml_is_refused_before_any_request(
    tmp_path: Path, cloud: Recorder
) -> None:
    hook = "scopeway.control_plane.openstack_client.hook:attach_scope"
    clouds_yaml(tmp_path, cloud, x_scope="no_service:a", vendor_hook=hook)

    run = openstack(tmp_path, "--os-cloud", "mine", "image", "list")

    assert run.returncode == 1
    assert "column 1: no such service: 'no_service'" in run.stderr
    assert cloud.requests == []


def openstack_on(folder: Path, cloud: Recorder, *command: str) -> subprocess.CompletedProcess[str]:
    return openstack(folder, *command, OS_AUTH_URL=f"{cloud.url}/identity", **PASSWORD)


FAN_OUT = ("--scope", "{keystone: cloud-1; glance: a & b & c}")
FAILED = [
    {"cloud": "b", "status": 503, "cause": "unreachable", "reason": "connection refused"},
    {"cloud": "c", "status": 0, "cause": "timeout", "reason": "no answer after 10 s"},
]
SENTENCE = "2 of 3 clouds did not answer: b (503: connection refused), c (timeout)\n"


def answer_in_part(cloud: Recorder) -> None:
    image = {"scopeway:cloud": "a", "id": "4f", "name": "cirros", "status": "active"}
    report = {"asked": 3, "answered": 1, "failed": FAILED}
    cloud.images = {"images": [image], "scopeway:report": report}
    cloud.headers = {"X-Scopeway-Report": "asked=3"}


def test_clouds_that_did_not_answer_are_named_once_on_standard_error(
    tmp_path: Path, cloud: Recorder
) -> None:
    answer_in_part(cloud)
    cloud.pages = 3

    run = openstack_on(tmp_path, cloud, "image", "list", "-f", "value", *FAN_OUT)

    assert run.returncode == 0
    assert run.stderr == SENTENCE
    assert run.stdout == 3 * "4f cirros active\n"


def test_the_interactive_shell_names_them_after_each_command(
    tmp_path: Path, cloud: Recorder
) -> None:
    answer_in_part(cloud)
    variables = {"OS_AUTH_URL": f"{cloud.url}/identity", **PASSWORD}

    run = openstack(tmp_path, *FAN_OUT, typed=2 * "image list -f value\n", **variables)

    assert run.stderr == 2 * SENTENCE
    assert run.stdout.count("4f cirros active\n") == 2


def test_a_read_that_requires_all_clouds_ends_with_a_non_zero_exit_status(
    tmp_path: Path, cloud: Recorder
) -> None:
    answer_in_part(cloud)
    report = cloud.images["scopeway:report"]
    error = {"code": 502, "title": "Bad Gateway", "message": "all clouds are required"}
    cloud.images = {"error": error, "scopeway:report": report}
    cloud.status = 502
    cloud.headers |= {"X-Scopeway-Rejected": "true"}

    run = openstack_on(tmp_path, cloud, "image", "list", "--scope-require", "all", *FAN_OUT)

    assert run.returncode == 1
    assert run.stderr == f"all clouds are required (HTTP 502)\n{SENTENCE}"
    assert run.stdout == ""
    assert cloud.required == {"all"}


def test_all_clouds_are_required_by_variable_and_by_clouds_yaml(
    tmp_path: Path, cloud: Recorder
) -> None:
    answer_in_part(cloud)
    hook = "scopeway.control_plane.openstack_client.hook:attach_scope"
    clouds_yaml(tmp_path, cloud, x_scope="glance: a & b & c", vendor_hook=hook)
    command = ("--os-cloud", "mine", "image", "list")

    by_variable = openstack(tmp_path, *command, OS_SCOPE_REQUIRE="all")
    assert (by_variable.returncode, by_variable.stderr) == (1, SENTENCE)

    clouds_yaml(
        tmp_path, cloud, x_scope="glance: a & b & c", x_scope_require="all", vendor_hook=hook
    )
    by_file = openstack(tmp_path, *command)
    assert (by_file.returncode, by_file.stderr) == (1, SENTENCE)
    assert cloud.required == {"all"}


def test_a_creation_done_in_part_fails_and_says_what_to_repeat(
    tmp_path: Path, cloud: Recorder
) -> None:
    results = [{"cloud": "a", "status": 201, "id": "4f"}, {**FAILED[0], "status": 503}]
    message = "POST was done at a, and failed at b: connection refused (503)"
    cloud.images = {"error": {"message": message}, "scopeway:report": {"results": results}}
    cloud.status = 500
    cloud.headers = {"X-Scopeway-Rejected": "true", "X-Scopeway-Report": "a;status=201"}

    run = openstack_on(tmp_path, cloud, "image", "create", "cirros", "--scope", "glance: a & b")

    assert run.returncode == 1
    assert run.stderr == (
        f"Image creation failed: {message} (HTTP 500)\n"
        "  a: done (201), id 4f\n"
        "  b: not done (503: connection refused)\n"
        'repeat it at b only: --scope "image:b" --id 4f\n'
    )


def test_a_hostile_report_writes_nothing_to_the_terminal(tmp_path: Path, cloud: Recorder) -> None:
    answer_in_part(cloud)
    failed = [{"cloud": "\x1b]0;x\x07", "status": 500, "reason": "\x1b[2J\r" + "y" * 10**6}]
    cloud.images["scopeway:report"] = {"asked": 3, "failed": failed}

    run = openstack_on(tmp_path, cloud, "image", "list", "-f", "value", *FAN_OUT)

    assert run.returncode == 0
    assert run.stderr.startswith("1 of 3 clouds did not answer: \\x1b]0;x\\x07 (500: \\x1b[2J\\r")
    assert len(run.stderr) < 300
    assert run.stdout == "4f cirros active\n"

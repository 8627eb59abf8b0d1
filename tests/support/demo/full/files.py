"""The configuration files of a whole cloud: of Placement, Neutron, Nova and Cinder.

Pure: text from values. Every address of a service is the site's own front. Those of Glance, Neutron
and Cinder are told to Nova besides: else it takes them from the catalog in the user's token, which
is another cloud's when the identity is.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import openstack_files as files
from demo.site import REGION, Site
from harness.ports import ADDRESS

SERVICES = ("identity", "image", "placement", "compute", "network")
"""Of each whole cloud."""
ONLY = {"cloud-2": ("block-storage",)}
"""Volumes are at one cloud: a scope finds them there."""
FRONT_PORTS = ("image",)
"""nova-compute asks its front for images by a port of their own, so that logs tell who asked."""
DATABASES = (
    "keystone",
    "glance",
    "placement",
    "nova_api",
    "nova",
    "nova_cell0",
    "neutron",
    "cinder",
)
AGENT_SECONDS = 2147483
"""For how long Neutron takes an agent for alive; the most that it can be told, 24 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """What a cloud keeps its state in; each cloud has its own."""

    databases: Mapping[str, str] = field(repr=False)
    """One of `DATABASES` to its URL."""
    broker: str = field(repr=False)
    """URL of the message broker."""


def database_names(cloud: str) -> dict[str, str]:
    """One of `DATABASES` to its name in the server that all clouds use."""
    return {name: f"{cloud.replace('-', '_')}_{name}" for name in DATABASES}


def write_files(site: Site, backing: Backing, openstack: Path) -> None:
    """Writes all of a cloud's configuration into its folder."""
    databases = backing.databases
    texts = {
        files.KEYSTONE_POLICY_FILE: files.KEYSTONE_POLICY,
        "keystone.conf": files.keystone_conf(site, database=databases["keystone"]),
        "glance-api.conf": files.glance_conf(site, openstack, database=databases["glance"]),
        "placement.conf": placement_conf(site, databases["placement"]),
        "neutron.conf": neutron_conf(site, backing, openstack),
        "nova.conf": nova_conf(site, backing),
        "nova-compute.conf": nova_compute_conf(site),
        "cinder.conf": cinder_conf(site, backing, openstack),
    }
    for name, text in texts.items():
        (site.folder / name).touch(mode=0o600)
        (site.folder / name).write_text(text)
    # nova-api looks for it beside its configuration only
    shutil.copyfile(openstack / "etc" / "nova" / "api-paste.ini", site.folder / "api-paste.ini")
    for name in ("images", "staging", "tasks", "nova", "neutron", "cinder"):
        (site.folder / name).mkdir(exist_ok=True)


def placement_conf(site: Site, database: str) -> str:
    """Placement."""
    return f"""\
[DEFAULT]
log_file = {site.folder}/placement.log
[placement_database]
connection = {database}
[api]
auth_strategy = keystone
[oslo_middleware]
enable_proxy_headers_parsing = true
{files.authtoken(site, "placement")}"""


def neutron_conf(site: Site, backing: Backing, openstack: Path) -> str:
    """Neutron's API server with ML2, which binds ports for an agent that it believes in."""
    return f"""\
[DEFAULT]
log_file = {site.folder}/neutron.log
state_path = {site.folder}/neutron
core_plugin = ml2
service_plugins =
transport_url = {backing.broker}
api_paste_config = {openstack}/etc/neutron/api-paste.ini
auth_strategy = keystone
# the agent is a row in the database: see clouds.py
agent_down_time = {AGENT_SECONDS}
dhcp_agent_notification = false
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers = openvswitch
[database]
connection = {backing.databases["neutron"]}
[oslo_concurrency]
lock_path = {site.folder}/neutron
[oslo_messaging_rabbit]
heartbeat_in_pthread = false
[oslo_middleware]
enable_proxy_headers_parsing = true
{files.authtoken(site, "network")}"""


def nova_conf(site: Site, backing: Backing) -> str:
    """Nova: all four of its processes."""
    return f"""\
[DEFAULT]
log_dir = {site.folder}
state_path = {site.folder}/nova
my_ip = {ADDRESS}
host = compute-{site.name}
transport_url = {backing.broker}
# no hypervisor: Nova's own driver for tests, which only keeps books
compute_driver = fake.FakeDriver
enabled_apis = osapi_compute
heal_instance_info_cache_interval = -1
sync_power_state_interval = -1
# periodic tasks from the start, instead of after a random part of a minute
periodic_fuzzy_delay = 0
default_thread_pool_size = 10
[api]
auth_strategy = keystone
[database]
connection = {backing.databases["nova"]}
[api_database]
connection = {backing.databases["nova_api"]}
[conductor]
workers = 1
[scheduler]
workers = 1
max_placement_results = 10
# the one nova-compute is found without `nova-manage cell_v2 discover_hosts`
discover_hosts_in_cells_interval = 2
[oslo_concurrency]
lock_path = {site.folder}/nova
[oslo_messaging_rabbit]
heartbeat_in_pthread = false
[oslo_middleware]
enable_proxy_headers_parsing = true
[vnc]
enabled = false
[quota]
instances = -1
cores = -1
ram = -1
[workarounds]
skip_cpu_compare_on_dest = true
[glance]
region_name = {REGION}
endpoint_override = {site.front_url}/image
num_retries = 0
{_login(site, "service_user")}send_service_user_token = true
{_login(site, "neutron")}region_name = {REGION}
endpoint_override = {site.front_url}/network
{_login(site, "placement")}region_name = {REGION}
endpoint_override = {site.front_url}/placement
[cinder]
os_region_name = {REGION}
endpoint_template = {site.front_url}/block-storage/v3/%(project_id)s
http_retries = 0
{files.authtoken(site, "compute")}"""


def nova_compute_conf(site: Site) -> str:
    """What differs for nova-compute, read after `nova.conf`: the way to its front's images."""
    return f"""\
[glance]
endpoint_override = http://{ADDRESS}:{site.front_ports["image"]}
"""


def cinder_conf(site: Site, backing: Backing, openstack: Path) -> str:
    """Cinder: its API, its scheduler, and volumes that don't exist."""
    return f"""\
[DEFAULT]
log_dir = {site.folder}
state_path = {site.folder}/cinder
my_ip = {ADDRESS}
host = volumes-{site.name}
transport_url = {backing.broker}
api_paste_config = {openstack}/etc/cinder/api-paste.ini
resource_query_filters_file = {openstack}/etc/cinder/resource_filters.json
auth_strategy = keystone
enabled_backends = fake
# else it keeps the address in the catalog of whoever asks first
glance_api_servers = {site.front_url}/image
[fake]
# no storage: a driver that only writes into the log, of Cinder's own tests
volume_driver = cinder.tests.fake_driver.FakeLoggingVolumeDriver
volume_backend_name = fake
[database]
connection = {backing.databases["cinder"]}
[nova]
interface = public
region_name = {REGION}
{_login_lines(site)}[oslo_concurrency]
lock_path = {site.folder}/cinder
[oslo_messaging_rabbit]
heartbeat_in_pthread = false
[oslo_middleware]
enable_proxy_headers_parsing = true
{files.authtoken(site, "block-storage")}"""


def _login(site: Site, section: str) -> str:
    return f"[{section}]\n{_login_lines(site)}"


def _login_lines(site: Site) -> str:
    """Nova's own login, which Cinder uses too where it asks Nova."""
    credentials = files.credentials(files.SERVICE_USERS["compute"])
    return f"auth_url = {site.front_url}/identity\n{credentials}"

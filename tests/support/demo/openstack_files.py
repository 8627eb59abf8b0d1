"""The configuration files of a site's Keystone and Glance, and of the clients.

Pure: text from values. Nothing in them is special to Scopeway but one thing: every address that a
service or a client looks up is the site's front, and services trust its `X-Forwarded-*` headers.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.site import PASSWORD, REGION, Site

MEMBER = "alice"
"""Member of `PROJECT`, the user of the demo's steps."""
ADMIN = "admin"
PROJECT = "demo"
SERVICE_PROJECT = "service"
SERVICE_USERS = {
    "identity": "keystone",
    "image": "glance",
    "compute": "nova",
    "placement": "placement",
    "network": "neutron",
    "block-storage": "cinder",
}
"""Service type to the name of the service and, for all but identity, of its user."""
VERSION_PATHS = {
    "identity": "/v3",
    "compute": "/v2.1",
    "block-storage": "/v3/%(project_id)s",  # Keystone fills it in
}
"""What the catalog's URL of a service ends with, where it isn't the root of the service."""


KEYSTONE_POLICY = """\
# a trust's token may ask about tokens, so that other clouds can have it validated by itself
"identity:validate_token": "rule:admin_required or (role:reader and system_scope:all) or \
rule:service_role or rule:token_subject or not trust_id:None"
"identity:check_token": "rule:admin_required or (role:reader and system_scope:all) or \
rule:token_subject or not trust_id:None"
"""
"""Of each Keystone, in `KEYSTONE_POLICY_FILE`: the defaults of these rules, and the last `or`."""
KEYSTONE_POLICY_FILE = "keystone-policy.yaml"


def keystone_conf(site: Site, *, database: str | None = None) -> str:
    """Keystone with Fernet tokens.

    Args:
        database: Its URL; None is sqlite.
    """
    url = database or sqlite(site.folder / "keystone.db")
    return f"""\
[DEFAULT]
log_file = {site.folder}/keystone.log
[database]
connection = {url}
[auth]
# Keystone's own, and the second factor that people have
methods = external,password,token,oauth1,mapped,application_credential,totp
[token]
provider = fernet
[fernet_tokens]
key_repository = {site.folder}/fernet-keys
# without it Keystone wants /etc/keystone/fernet-keys to exist, though it gives out no receipts here
[fernet_receipts]
key_repository = {site.folder}/fernet-keys
[credential]
key_repository = {site.folder}/credential-keys
[oslo_policy]
policy_file = {site.folder}/{KEYSTONE_POLICY_FILE}
[identity]
# passwords of a demo: the cheapest hash
password_hash_rounds = 4
[cache]
enabled = true
backend = oslo_cache.dict
[oslo_middleware]
enable_proxy_headers_parsing = true
"""


def glance_conf(site: Site, openstack: Path, *, database: str | None = None) -> str:
    """Glance with its images in a folder.

    Args:
        openstack: The virtual environment that Glance is installed in.
        database: Its URL; None is sqlite.
    """
    url = database or sqlite(site.folder / "glance.db")
    return f"""\
[DEFAULT]
log_file = {site.folder}/glance.log
enabled_backends = files:file
node_staging_uri = file://{site.folder}/staging
workers = 1
[database]
connection = {url}
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {site.folder}/images
[os_glance_staging_store]
filesystem_store_datadir = {site.folder}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {site.folder}/tasks
[paste_deploy]
flavor = keystone
config_file = {openstack}/etc/glance/glance-api-paste.ini
[oslo_concurrency]
lock_path = {site.folder}
[oslo_middleware]
enable_proxy_headers_parsing = true
""" + authtoken(site, "image")


def authtoken(site: Site, service: str) -> str:
    """How a service of a site has tokens validated: by whatever its front reaches."""
    return f"""\
[keystone_authtoken]
www_authenticate_uri = {site.front_url}/identity
auth_url = {site.front_url}/identity
region_name = {REGION}
{credentials(SERVICE_USERS[service])}\
# of the access rules of an application credential, those for this service count
service_type = {service}
service_token_roles_required = true
# no memory of tokens, so that every request shows who validated its token
token_cache_time = -1
"""


def credentials(user: str) -> str:
    """A service's own login, as any section of its configuration wants it."""
    return f"""\
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = {SERVICE_PROJECT}
username = {user}
password = {PASSWORD}
"""


def clouds_yaml(sites: Sequence[Site]) -> str:
    """For each site the user of the demo, `cloud-1`, and its administrator, `cloud-1-admin`."""
    entries = [
        f"""\
  {name}:
    identity_api_version: 3
    region_name: {REGION}
    auth:
      auth_url: {site.front_url}/identity/v3
      username: {user}
      password: {PASSWORD}
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default
"""
        for site in sites
        for name, user, project in (
            (site.name, MEMBER, PROJECT),
            (f"{site.name}-admin", ADMIN, ADMIN),
        )
    ]
    return "clouds:\n" + "".join(entries)


def fernet_keys() -> Mapping[str, str]:
    """A fresh key repository, file name to content: one staged key, one primary."""
    return {name: base64.urlsafe_b64encode(os.urandom(32)).decode() for name in ("0", "1")}


def sqlite(path: Path) -> str:
    """The URL of an sqlite database that waits for its writers."""
    return f"sqlite:///{path}?timeout=60"


def catalog(site: Site) -> Mapping[str, str]:
    """Service type to the URL in Keystone's catalog."""
    return {
        service: f"{site.front_url}/{service}{VERSION_PATHS.get(service, '')}"
        for service in (*site.services, *site.elsewhere)
    }

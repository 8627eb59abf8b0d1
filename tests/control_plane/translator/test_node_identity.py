"""The identity files of an Envoy: in its node's metadata and in secrets."""

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.node_identity import SiteIdentity, from_metadata, to_metadata
from scopeway.control_plane.translator.sds_files import sds_files
from scopeway.control_plane.translator.secrets import identity_secrets

IDENTITY = SiteIdentity(
    certificate="/etc/s/tls.crt", key="/etc/s/tls.key", authorities="/etc/other/ca.crt"
)


def decoded(name: str) -> dict[str, object]:
    return Secret.parse(identity_secrets(IDENTITY)[name]).to_dict(casing=Casing.SNAKE)


def test_files_in_the_metadata_of_a_node_become_secrets() -> None:
    metadata = {f"scopeway.identity.{key}": text for key, text in to_metadata(IDENTITY).items()}

    assert from_metadata(metadata) == IDENTITY
    assert decoded(names.IDENTITY) == {
        "name": "identity",
        "tls_certificate": {
            "certificate_chain": {"filename": "/etc/s/tls.crt"},
            "private_key": {"filename": "/etc/s/tls.key"},
            # the folder: the files may be links into another one, which is replaced by a rename
            "watched_directory": {"path": "/etc/s"},
        },
    }
    assert decoded(names.AUTHORITIES) == {
        "name": "authorities",
        "validation_context": {
            "trusted_ca": {"filename": "/etc/other/ca.crt"},
            "watched_directory": {"path": "/etc/other"},
        },
    }


def test_a_node_with_incomplete_identity_files_has_no_identity() -> None:
    metadata = {f"scopeway.identity.{key}": text for key, text in to_metadata(IDENTITY).items()}

    assert from_metadata({}) is None
    for missing in metadata:
        assert from_metadata({**metadata, missing: ""}) is None


def test_sds_files_of_a_bootstrap_equal_the_secrets() -> None:
    files = sds_files(IDENTITY)
    for name, file in (("identity", "identity.yaml"), ("authorities", "authorities.yaml")):
        (resource,) = yaml.safe_load(files[file])["resources"]
        assert resource.pop("@type").endswith(".tls.v3.Secret")

        assert resource == decoded(name)

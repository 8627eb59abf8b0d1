"""The files beside a bootstrap that name an Envoy's certificate for the control plane.

Envoy reads them as SDS from the file system, since it has no connection yet. It watches their
folders and reads files that are renamed into them.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from scopeway.control_plane.identity import control_plane_id
from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.node_identity import SiteIdentity

SDS_FILES: Final = {names.IDENTITY: "identity.yaml", names.AUTHORITIES: "authorities.yaml"}
"""Secret to the file that names its files; Envoy takes one secret from each."""

_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def sds_files(identity: SiteIdentity) -> Mapping[str, str]:
    """Return file name to text of the files that lie beside a bootstrap."""
    certificate = {
        "certificate_chain": {"filename": identity.certificate},
        "private_key": {"filename": identity.key},
        "watched_directory": {"path": _folder(identity.certificate)},
    }
    authorities = {
        "trusted_ca": {"filename": identity.authorities},
        "watched_directory": {"path": _folder(identity.authorities)},
    }
    return {
        SDS_FILES[names.IDENTITY]: _sds(names.IDENTITY, {"tls_certificate": certificate}),
        SDS_FILES[names.AUTHORITIES]: _sds(names.AUTHORITIES, {"validation_context": authorities}),
    }


def control_plane_socket(sds_folder: str, trust_domain: str) -> dict[str, Any]:
    """Return the transport socket by which an Envoy reaches its control plane, and no other.

    Args:
        sds_folder: Where Envoy finds what `sds_files` returned.
        trust_domain: Of the control plane.
    """
    certificate, authorities = (
        {
            "name": name,
            "sds_config": {
                "path_config_source": {"path": str(PurePosixPath(sds_folder) / file)},
                "resource_api_version": "V3",
            },
        }
        for name, file in SDS_FILES.items()
    )
    expected = {"san_type": "URI", "matcher": {"exact": control_plane_id(trust_domain)}}
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{_TLS}.UpstreamTlsContext",
            # every connection proves anew who is there
            "max_session_keys": 0,
            "common_tls_context": {
                # both: as a client, Envoy goes no further than 1.2 unless it is told
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [certificate],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [expected]},
                    "validation_context_sds_secret_config": authorities,
                },
            },
        },
    }


def _sds(name: str, secret: Mapping[str, Any]) -> str:
    resource = {"@type": f"{_TLS}.Secret", "name": name, **secret}
    return yaml.safe_dump({"resources": [resource]}, sort_keys=False)


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)

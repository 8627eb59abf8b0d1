"""The identity of a site's Envoy: certificate, key and authorities, in files of its own machine.

Owns how these files are named to Envoy. For the connection to the control plane by SDS from two
more files, since nothing else is there yet; for everything else by SDS over that connection: the
node's metadata tells the control plane the names, and it hands them back as the secrets IDENTITY
and AUTHORITIES. So clusters and listeners are the same bytes at every site, and no key is ever
sent. Envoy watches the folders of the files either way, and takes what is renamed into them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from scopeway.control_plane.identity import control_plane_id
from scopeway.control_plane.translator import names
from scopeway.xds.encoding.protobuf import field_bytes, field_string

SDS_FILES: Final = {names.IDENTITY: "identity.yaml", names.AUTHORITIES: "authorities.yaml"}
"""Secret to the file that names its files; Envoy takes one secret from each."""

_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_METADATA: Final = ("certificate", "key", "authorities")
_MEMO: Final = 1024
_LONGEST_REMEMBERED: Final = 512
"""Characters of all three paths: the memo takes 4 MiB at most. Honest sites have short paths, and
most of them the same; longer ones are encoded for each stream, in microseconds."""

# Secret, TlsCertificate, CertificateValidationContext, DataSource
_NAME, _TLS_CERTIFICATE, _VALIDATION_CONTEXT = 1, 2, 4
_CERTIFICATE_CHAIN, _PRIVATE_KEY = 1, 2
_TRUSTED_CA = 1
_CERTIFICATE_WATCHED, _AUTHORITIES_WATCHED, _PATH = 7, 11, 1
_FILENAME = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteIdentity:
    """The files, as Envoy sees them; all in PEM."""

    certificate: str
    key: str
    authorities: str
    """Who signs the control plane and the other sites; several during a rotation."""


def from_metadata(metadata: Mapping[str, str]) -> SiteIdentity | None:
    """Return what a node says of its files; None where it says nothing, or not all."""
    found = {each: metadata.get(f"scopeway.identity.{each}", "") for each in _METADATA}
    return SiteIdentity(**found) if all(found.values()) else None


def to_metadata(identity: SiteIdentity) -> dict[str, str]:
    """Return what belongs below `scopeway.identity` in the metadata of a node."""
    return {each: getattr(identity, each) for each in _METADATA}


def secrets(identity: SiteIdentity) -> Mapping[str, bytes]:
    """Return name to encoded `Secret`: file names only."""
    length = sum(map(len, (identity.certificate, identity.key, identity.authorities)))
    return _known_secrets(identity) if length <= _LONGEST_REMEMBERED else _secrets(identity)


def _secrets(identity: SiteIdentity) -> Mapping[str, bytes]:
    certificate = (
        _file(_CERTIFICATE_CHAIN, identity.certificate)
        + _file(_PRIVATE_KEY, identity.key)
        + _watched(_CERTIFICATE_WATCHED, identity.certificate)
    )
    authorities = _file(_TRUSTED_CA, identity.authorities)
    authorities += _watched(_AUTHORITIES_WATCHED, identity.authorities)
    return {
        names.IDENTITY: field_string(_NAME, names.IDENTITY)
        + field_bytes(_TLS_CERTIFICATE, certificate),
        names.AUTHORITIES: field_string(_NAME, names.AUTHORITIES)
        + field_bytes(_VALIDATION_CONTEXT, authorities),
    }


_known_secrets = lru_cache(_MEMO)(_secrets)


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


def _file(field: int, name: str) -> bytes:
    return field_bytes(field, field_string(_FILENAME, name))


def _watched(field: int, file: str) -> bytes:
    """The folder, not the file: what is renamed may be a link that the file is reached by."""
    return field_bytes(field, field_string(_PATH, _folder(file)))


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)

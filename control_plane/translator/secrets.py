"""The secrets of a site: the names of files that hold certificates and keys, never a key itself.

Envoy reads the files on its own machine, watches their folders, and takes what is renamed into them
without a restart. The numbers below are the field numbers of Envoy's API.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.xds.encoding.protobuf import field_bytes, field_string

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


def front_secrets(cloud: Cloud) -> dict[str, bytes]:
    """Return name to encoded `Secret`: the certificate of a front that speaks TLS."""
    if cloud.front is None or cloud.front.tls is None:
        return {}
    files = cloud.front.tls
    pair = _file(_CERTIFICATE_CHAIN, files.certificate) + _file(_PRIVATE_KEY, files.key)
    secret = field_string(_NAME, names.CERTIFICATE) + field_bytes(_TLS_CERTIFICATE, pair)
    return {names.CERTIFICATE: secret}


def identity_secrets(identity: SiteIdentity) -> Mapping[str, bytes]:
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


def _file(field: int, name: str) -> bytes:
    return field_bytes(field, field_string(_FILENAME, name))


def _watched(field: int, file: str) -> bytes:
    """The folder, not the file: what is renamed may be a link that the file is reached by."""
    return field_bytes(field, field_string(_PATH, _folder(file)))


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)

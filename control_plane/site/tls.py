"""TLS at a site's listeners: certificates that stand in files of the site, and how they are spoken.

The control plane names the files and never reads them: Envoy takes the secret over ADS, and with it
watches the folders of its files for anything that is renamed into them, so a renewed certificate is
taken without a restart, by new connections. Importing this takes half a second (Envoy's types).
"""

from functools import cache

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.google.protobuf import Any

from control_plane.site import names
from control_plane.site.envoy_types import ads
from xds.wire import field_bytes, field_string

# Secret, TlsCertificate, DataSource
_NAME, _TLS_CERTIFICATE = 1, 2
_CERTIFICATE_CHAIN, _PRIVATE_KEY = 1, 2
_FILENAME = 1


@cache
def front() -> bytes:
    """Return the `TransportSocket` of fronts that speak TLS; its secret is `names.CERTIFICATE`."""
    certificate = SdsSecretConfig(name=names.CERTIFICATE, sds_config=ads())
    context = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
                tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            ),
            alpn_protocols=["h2", "http/1.1"],
            tls_certificate_sds_secret_configs=[certificate],
        )
    )
    return bytes(TransportSocket(name="tls", typed_config=Any.pack(context)))


def file_certificate(name: str, *, certificate: str, key: str) -> bytes:
    """Return the `Secret` of a certificate and its key in two files of the site."""
    files = field_bytes(_CERTIFICATE_CHAIN, field_string(_FILENAME, certificate))
    files += field_bytes(_PRIVATE_KEY, field_string(_FILENAME, key))
    return field_string(_NAME, name) + field_bytes(_TLS_CERTIFICATE, files)

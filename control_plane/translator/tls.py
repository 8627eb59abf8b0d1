"""The TLS settings of listeners, and of connections to other sites.

The control plane names the files of certificates and never reads them. Envoy gets the names as
secrets over ADS and watches the folders, so that new connections use a renewed certificate without
a restart.
"""

from functools import cache

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.google.protobuf import Any

from scopeway.control_plane.identity import spiffe_id
from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.envoy_types import ads
from scopeway.xds.encoding.protobuf import any_message, field_bytes, field_string, field_varint

# TransportSocket, UpstreamTlsContext and DownstreamTlsContext, CommonTlsContext
_NAME, _TYPED_CONFIG, _COMMON_TLS_CONTEXT, _COMBINED_VALIDATION = 1, 3, 1, 8
# CombinedCertificateValidationContext, CertificateValidationContext, SubjectAltNameMatcher,
# StringMatcher
_DEFAULT, _AUTHORITIES, _MATCH_SAN = 1, 2, 15
_SAN_TYPE, _MATCHER = 1, 2
_EXACT, _PREFIX = 1, 2

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_DOWNSTREAM_TYPE = f"{_TLS}.DownstreamTlsContext"
_UPSTREAM_TYPE = f"{_TLS}.UpstreamTlsContext"


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


@cache
def peer(trust_domain: str) -> bytes:
    """Return the `TransportSocket` of peers; it requires the certificate of a cloud."""
    context = DownstreamTlsContext(
        require_client_certificate=True,
        # every connection proves anew who is there: a resumed one would outlive its certificate
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    anybody = field_string(_PREFIX, spiffe_id(trust_domain, ""))
    body = bytes(context) + field_bytes(_COMMON_TLS_CONTEXT, _between_sites(anybody))
    return _transport_socket(_DOWNSTREAM_TYPE, body)


def to_peer(spiffe: str) -> bytes:
    """Return the `TransportSocket` to the site whose certificate has this name."""
    body = field_bytes(_COMMON_TLS_CONTEXT, _between_sites(field_string(_EXACT, spiffe)))
    return _transport_socket(_UPSTREAM_TYPE, _no_resumption() + body)


def _between_sites(name: bytes) -> bytes:
    """Return a `CommonTlsContext`: the own certificate, the CA bundle, and the expected name."""
    expected = field_varint(_SAN_TYPE, SubjectAltNameMatcherSanType.URI)
    expected += field_bytes(_MATCHER, name)
    validation = field_bytes(_DEFAULT, field_bytes(_MATCH_SAN, expected))
    validation += field_bytes(_AUTHORITIES, _secret(names.AUTHORITIES))
    return _ours() + field_bytes(_COMBINED_VALIDATION, validation)


@cache
def _ours() -> bytes:
    return bytes(
        CommonTlsContext(
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
                tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            ),
            alpn_protocols=["h2"],
            tls_certificate_sds_secret_configs=[
                SdsSecretConfig(name=names.IDENTITY, sds_config=ads())
            ],
        )
    )


@cache
def _secret(name: str) -> bytes:
    return bytes(SdsSecretConfig(name=name, sds_config=ads()))


@cache
def _no_resumption() -> bytes:
    return bytes(UpstreamTlsContext(max_session_keys=0))


def _transport_socket(type_url: str, body: bytes) -> bytes:
    return field_string(_NAME, "tls") + field_bytes(_TYPED_CONFIG, any_message(type_url, body))

"""Shortcuts for building Envoy's messages; imported only where templates are built."""

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    SubstitutionFormatString,
    TypedExtensionConfig,
)
from envoy_data_plane.google.protobuf import Any, Struct


def ads() -> ConfigSource:
    """Return the source of a configuration that comes over ADS."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def extension(name: str, config: betterproto2.Message) -> TypedExtensionConfig:
    """Return an extension's configuration under its name."""
    return TypedExtensionConfig(name=name, typed_config=Any.pack(config))


def overwrite(header: str, value: str) -> HeaderValueOption:
    """Set a header to a format string; an empty result leaves the header unchanged."""
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def default(header: str, value: str) -> HeaderValueOption:
    """Set a header to a format string if it does not exist."""
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT,
    )


def overwrite_existing(header: str, value: str) -> HeaderValueOption:
    """Set a header that exists to a format string; an empty result leaves it unchanged."""
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS,
    )


def append(header: str, value: str) -> HeaderValueOption:
    """Add a format string to a header's values."""
    return HeaderValueOption(
        header=HeaderValue(key=header, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD,
    )


def error_body(code: int | str, title: str, message: str) -> SubstitutionFormatString:
    """Return an error as OpenStack shapes it, of format strings; Envoy quotes what they become."""
    return json_format({"error": {"code": code, "title": title, "message": message}})


def json_format(fields: dict[str, object]) -> SubstitutionFormatString:
    """Return a JSON object whose values are format strings."""
    return SubstitutionFormatString(json_format=Struct.from_dict(fields))

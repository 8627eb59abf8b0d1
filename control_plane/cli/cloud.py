"""`scopeway cloud`: register, show and remove clouds in a registry that can be written."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from control_plane.cli.options import format_option, registry_options
from control_plane.errors import ControlPlaneError


@click.group()
def cloud() -> None:
    """Register clouds, list them, show them, take them away."""


@cloud.command()
@registry_options
@click.option(
    "--ttl",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="Let the entry end by itself unless it is put again within this time (an etcd lease).",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
def put(
    registry: str,
    etcd_cacert: str | None,
    etcd_cert: str | None,
    etcd_key: str | None,
    ttl: int | None,
    files: tuple[str, ...],
) -> None:
    """Register the clouds of manifest FILES; "-" reads standard input.

    All documents are checked before the first is written.
    """
    from control_plane.registry import open_writer
    from control_plane.settings import EtcdCredentials

    clouds = read_manifests(files)

    async def write() -> None:
        async with open_writer(
            registry, EtcdCredentials(cacert=etcd_cacert, cert=etcd_cert, key=etcd_key)
        ) as writer:
            for value in clouds:
                await writer.put(value, ttl=ttl)
                click.echo(f"{value.name} registered")

    asyncio.run(write())

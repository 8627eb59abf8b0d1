"""What `scopeway serve` was told, read once and passed on explicitly."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdCredentials:
    """Files for TLS to etcd, in PEM; None where not used. User and password stand in the URL."""

    cacert: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a running control plane."""

    registry: str
    """URL of the registry, `dir:FOLDER` or `etcd://…`."""
    etcd: EtcdCredentials = EtcdCredentials()
    xds_listen: tuple[str, int]
    """Host and port for Envoys; port 0 takes a free one."""
    admin_listen: tuple[str, int]
    """Host and port for health checks and metrics; port 0 takes a free one."""
    state_dir: str | None = None
    """Folder of the last good inventory; None keeps none."""
    insecure_peers: bool = False
    """True lets sites speak plain HTTP/2 to each other beyond loopback."""
    log_level: str = "info"

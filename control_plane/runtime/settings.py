"""The settings of `scopeway serve`, read once and passed on explicitly."""

from dataclasses import dataclass
from pathlib import Path

from scopeway.control_plane.clouds.addresses import AllowedAddress
from scopeway.control_plane.identity import DEFAULT_TRUST_DOMAIN
from scopeway.control_plane.identity.files import IdentityFiles
from scopeway.control_plane.scope import Expression
from scopeway.control_plane.serving.prefetch_set import LIMIT
from scopeway.control_plane.status_writer.times import StatusTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a running control plane."""

    registry: str
    """URL of the registry, `dir:FOLDER`, `etcd://…` or `kubernetes:…`; may hold a
    password."""
    xds_listen: tuple[str, int]
    """Host and port for Envoys; port 0 takes a free one."""
    admin_listen: tuple[str, int]
    """Host and port for health checks, metrics and status; port 0 takes a free one."""
    health_listen: tuple[str, int] | None = None
    """Host and port for health checks alone; None: only at `admin_listen`."""
    metrics_listen: tuple[str, int] | None = None
    """Host and port for metrics alone; None: only at `admin_listen`."""
    state_dir: Path | None = None
    """Folder of the last good inventory; None keeps none."""
    tls: IdentityFiles | None = None
    """The certificate of the control plane, and who signs Envoys. None: plain text; node identity
    is not verified."""
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    """Of the names in certificates, of Envoys and of peers; used with `tls` only."""
    insecure_xds: bool = False
    """True accepts Envoys in plain text from beyond loopback."""
    insecure_admin: bool = False
    """True serves health, metrics and status beyond loopback."""
    insecure_peers: bool = False
    """True lets sites speak plain HTTP/2 to each other beyond loopback."""
    direct: tuple[AllowedAddress, ...] | None = None
    """Where services of clouds without a peer may be; None: on loopback, with `tls` nowhere."""
    prefetch: tuple[Expression, ...] = ()
    """Select the clouds whose targets every Envoy gets before it asks."""
    prefetch_limit: int = LIMIT
    """How many clouds these select at most."""
    drain_seconds: int = 5
    """Over how long the streams are sent elsewhere at the end; 0: all at once."""
    status_namespace: str | None = None
    """Namespace of the Leases and ConfigMaps of replicas, with the registry `kubernetes:`; None:
    that of this pod, and outside of one no status is written."""
    replica: str = ""
    """The name of this replica; "": the host name."""
    disconnected_after: float = 60.0
    """Seconds that all Envoys of a cloud may be away before its status says so."""
    status_times: StatusTimes = StatusTimes()  # noqa: RUF009 - it is frozen
    """Of the replicas' agreement."""
    log_level: str = "info"

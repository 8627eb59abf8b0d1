"""The limits of Kubernetes on docs/limits.md: rows for `tests/test_documented_limits.py`."""

from scopeway.control_plane.kubernetes_api import client as kubernetes
from scopeway.control_plane.kubernetes_api import (
    credentials,
    errors,
    exec_plugin,
    kubeconfig,
    nesting,
    watch_lines,
)
from scopeway.control_plane.registry.kubernetes import objects, watches
from scopeway.control_plane.registry.kubernetes import registry as kubernetes_registry
from scopeway.control_plane.status_writer import (
    conditions,
    connected_clouds,
    contention,
    events,
    leader,
    service,
)
from scopeway.control_plane.status_writer import writer as status_writer
from scopeway.control_plane.status_writer.times import StatusTimes

EXPECTED: dict[str, list[float]] = {
    "seconds that all pages of a list may take": [kubernetes.WHOLE_LIST_TIMEOUT],
    "bytes of an answer of a Kubernetes API server": [kubernetes.MAX_ANSWER],
    "bytes of an event of a watch": [watch_lines.MAX_EVENT_BYTES],
    "seconds that an API server may take for an answer, and for a page of a list": [
        kubernetes.CALL_TIMEOUT,
        kubernetes.LIST_TIMEOUT,
    ],
    "seconds between two probes of an API server whose watches are open, and for an answer to "
    "one": [
        kubernetes_registry.PROBE_INTERVAL,
        watches.PROBE_TIMEOUT,
    ],
    "times that a list begins anew because etcd was compacted meanwhile": [
        kubernetes.LIST_ATTEMPTS
    ],
    "seconds and bytes of output of an exec plug-in of a kubeconfig": [
        exec_plugin.EXEC_TIMEOUT,
        exec_plugin.MAX_OUTPUT,
    ],
    "seconds between two runs of it": [credentials.PLUGIN_INTERVAL],
    "bytes of a kubeconfig, and of a token file": [
        kubeconfig.MAX_KUBECONFIG,
        credentials.MAX_TOKEN,
    ],
    "characters of an API server's text that an error shows": [errors.MAX_TEXT],
    "conditions of an object that are read, and their bytes": [
        objects.MAX_CONDITIONS,
        objects.MAX_CONDITIONS_BYTES,
    ],
    "levels of nesting of a Kubernetes object that are kept, once it has too many to be read "
    "(about 1,000)": [nesting.MAX_DEPTH],
    "writes of status to Kubernetes at once; a second": [
        status_writer.WORKERS,
        status_writer.WRITES_PER_SECOND,
        status_writer.WRITE_BURST,
    ],
    "seconds without writes of status after the API server has failed; after it has denied one": [
        status_writer.LONGEST_PAUSE,
        status_writer.FIRST_PAUSE,
        status_writer.REFUSED_PAUSE,
    ],
    "writes of one generation's status that nothing delays; seconds between further ones, if "
    "somebody else changes it again and again": [
        contention.FREE_WRITES,
        contention.LONGEST_DELAY,
        contention.FIRST_DELAY,
    ],
    "bytes of the text of an Event, and characters of the name of the replica in it": [
        events.MAX_NOTE,
        events.MAX_INSTANCE,
    ],
    "Leases of replicas that the leader lists, those of dead replicas included": [
        service.MAX_LEASES
    ],
    "Events about refused objects in Kubernetes": [
        status_writer.EVENT_BURST,
        status_writer.EVENTS_PER_SECOND,
    ],
    "characters of a message in a status; undeclared service types that it names": [
        conditions.MAX_MESSAGE,
        conditions.SHOWN_TYPES,
    ],
    "clouds that a replica publishes as connected; replicas that the leader reads": [
        connected_clouds.MAX_CLOUDS,
        8,
        connected_clouds.MAX_REPLICAS,
    ],
    "seconds without a renewal after which a replica counts as dead; until another one leads": [
        StatusTimes().dead_after,
        StatusTimes().election.lease_duration,
    ],
    "seconds of another holder's Lease that a replica respects": [leader.MAX_FOREIGN_DURATION],
}

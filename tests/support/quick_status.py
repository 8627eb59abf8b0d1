"""`scopeway` with shorter periods of status, so that tests need not wait for a minute."""

from functools import partial

from scopeway.control_plane.cli import main
from scopeway.control_plane.runtime import settings
from scopeway.control_plane.status_writer.leader import ElectionTimes
from scopeway.control_plane.status_writer.times import StatusTimes

TIMES = StatusTimes(
    election=ElectionTimes(lease_duration=3, renew_deadline=2, retry_period=0.4),
    renew=1.5,
    dead_after=5,
    keep=2,
    rest=0.4,
    look=0.2,
    retry=1,
)

if __name__ == "__main__":
    settings.Settings = partial(settings.Settings, status_times=TIMES)  # type: ignore[assignment,misc]
    main()

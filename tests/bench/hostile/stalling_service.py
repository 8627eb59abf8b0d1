"""The service of `harness.stalled` in a process of its own; prints its port."""

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from harness.background import Background
from harness.stalled_requests import Service

print(Service(Background()).port, flush=True)
threading.Event().wait()

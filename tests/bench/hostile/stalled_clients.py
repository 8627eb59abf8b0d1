"""Clients that take nothing, in a process of their own: stalled_clients.py PORT SCOPE WAY COUNT.

`WAY` is `download` or `upload` over `h1` or `h2`, as `download-h2`.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from harness.stalled_requests import Clients

port, scope, way, count = sys.argv[1:]
what, _, protocol = way.partition("-")
with Clients(int(port), [("X-Scope", scope)] if scope else []) as clients:
    if what == "download":
        clients.download("/image/endless", protocol, int(count))
    else:
        clients.upload("/image/deaf", protocol, int(count))
    print("ready", flush=True)
    while True:
        time.sleep(60)

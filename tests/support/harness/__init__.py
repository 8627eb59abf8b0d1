"""What runs Scopeway for tests, benches and the demo.

The tools that all of them share: processes (`process`, `supervisor`), free ports (`ports`), and
clients of HTTP/1.1 (`http`) and HTTP/2 (`http2`). On these stand `envoy`, `fleet` (a control plane
in this process) and `stack` (all of Scopeway as processes). The harness knows nothing of the demo.
"""

"""The collector: one request for the clouds of an `&` or `^`, asked of each, answered as one.

A process beside a site's Envoy (`scopeway collect`). Envoy sends it the requests of fan-out targets
over `collector.sock`. It asks each cloud through the listener `collect` of the same Envoy
(`collect.sock`), so that policy, mutual TLS and the access log are those of a plain target. It
knows no clouds, no registry and no xDS: each request names its members.
"""

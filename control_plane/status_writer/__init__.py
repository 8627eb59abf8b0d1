"""Writes the status of objects in Kubernetes: what the control plane thinks of each.

One replica of several writes, the leader (`leader`). `conditions`, `presence` and the rules in
`leader`, `connected_clouds` and `events` are pure; `writer`, `replica` and `elector` do the I/O.
"""

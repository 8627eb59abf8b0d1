"""Talks to a Kubernetes API server: logs in, reads, writes and watches objects.

The only room that imports lightkube, which the extra `scopeway[kubernetes]` installs. Start at
`client.ApiClient`. Knows no clouds.
"""

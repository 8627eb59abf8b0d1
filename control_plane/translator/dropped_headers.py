"""Which headers stay on their side of the front, where another cloud serves a request.

A token goes to the cloud that the user names, which is what scopes are for. Nothing else that opens
something here does; and what comes back speaks for its own resource, not for the host of the front,
at which a browser or client has those of this site too. Names only: the routes do it.
"""

NOT_SENT = (
    "x-service-token",  # of a service of this site, which acts for all of its users
    "cookie",  # cookies know no ports: that of a dashboard on the same host, for instance
    "proxy-authorization",  # for a proxy before the front
)

LOGIN = "authorization"
"""Sent to no service either: what signs or opens a request here (OAuth 2, S3, Basic) does so there.
But to a Keystone, where who names another cloud's logs in with it (federation, Kerberos)."""

NOT_TAKEN = (
    "set-cookie",
    # from where and how the host is reached, by whoever has seen it once
    "alt-svc",
    "strict-transport-security",
    "public-key-pins",
    # what a browser keeps for the host, and who controls its pages
    "clear-site-data",
    "service-worker-allowed",
    # whom a browser tells of all its requests to the host
    "nel",
    "report-to",
)

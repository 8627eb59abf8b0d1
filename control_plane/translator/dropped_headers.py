"""Headers that a front drops where another cloud serves a request.

The token goes to the cloud that the user names: that is what scopes are for. No other header that
opens something at this site may leave it. What comes back must not speak for the host of the front,
at which a browser or client also reaches the services of this site. Names only: the routes drop the
headers.
"""

DROPPED_REQUEST_HEADERS = (
    "x-service-token",  # of a service of this site, which acts for all of its users
    "cookie",  # cookies know no ports: that of a dashboard on the same host, for instance
    "proxy-authorization",  # for a proxy before the front
)

AUTHORIZATION = "authorization"
"""Dropped, too, but for a Keystone: it signs or opens a request at this site (OAuth 2, S3, Basic).
Who names the Keystone of another cloud logs in there with it (federation, Kerberos)."""

DROPPED_RESPONSE_HEADERS = (
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

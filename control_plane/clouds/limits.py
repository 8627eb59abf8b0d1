"""The limits of one manifest, each with its reason.

The cost of everything that is made of a manifest (index, policy, clusters, listeners) is
proportional to these, on the event loop that serves all sites. They are far above the needs of a
real cloud. docs/limits.md lists them.
"""

from typing import Final

LABELS: Final = 64
"""Labels of a cloud, and of one `[label=value,...]`. Kubernetes objects rarely have more than
20."""

LABEL_TEXT: Final = LABELS * (63 + 1 + 63 + 1) + 1
"""Characters of one `[label=value,...]`: the most labels, each of the greatest length."""

SERVICES: Final = 64
"""Services of a cloud, of a rule, or with a port of a front. OpenStack has fewer service types."""

ENDPOINTS: Final = 64
"""Endpoints of a service. Deployments with more stand behind a load balancer."""

RULES: Final = 256
"""Rules of `accept`. One rule may name thousands of clouds, so this is for different rights."""

CLOUDS: Final = 8192
"""Entries of all lists of clouds of a manifest together: a fleet of 2,000 sites in four lists."""

SELECTORS: Final = 256
"""Entries among these that are labels. Each may stand for any number of clouds."""

IDENTITY_CLOUDS: Final = 2048
"""Entries of the lists `identity.clouds` together: the names stand in the Lua of each listener."""

METHODS: Final = 8
"""Methods of a rule: all that may be named."""

ROLES: Final = 64
"""Roles of an identity rule. They have to fit into one header."""

OBJECTS: Final = 8192
"""Objects of a JSON document: twice what all services with all endpoints and all rules need."""

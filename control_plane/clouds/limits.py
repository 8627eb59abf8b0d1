"""The limits of manifests and of declarations of service types, each with its reason.

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

RULE_SERVICES: Final = 128
"""Different services in all rules together: more than there are service types, built in and
declared. The cost of a policy is proportional to it."""

METHODS: Final = 8
"""Methods of a rule: all that may be named."""

ROLES: Final = 64
"""Roles of an identity rule. They have to fit into one header."""

OBJECTS: Final = 8192
"""Objects of a JSON document: twice what all services with all endpoints and all rules need."""

SERVICE_TYPES: Final = 64
"""Declared service types of a registry. Their words stand in the Lua of each listener."""

ALIASES: Final = 16
"""Aliases of a declared service type."""

FORWARDED_HEADERS: Final = 16
"""Headers of requests to a declared service type that may go to other clouds."""

LISTS: Final = 16
"""Kinds of lists of a declared service type. They have to fit into one header."""

LIST_PATH: Final = 128
"""Characters of the path of such a list."""

"""What a target comes to, and the Envoy `Cluster` that carries it.

The modules, in the order in which they build on each other: `outcome` (the values), `policy` and
`transport` (one question each), `plan` (target to outcome), `explain` (the same, for people),
`prototypes` and `cluster` (outcome to bytes), `dependencies` (which targets a change concerns).
Pure: no I/O, no clock. Only `prototypes` imports envoy-data-plane, which takes half a second.
"""

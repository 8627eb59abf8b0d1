"""The demo with three whole clouds: Keystone, Glance, Placement and Nova on MariaDB and RabbitMQ.

Owns what `make demo` has no need of: the system's packages, databases that are made once and kept,
Nova, and the six steps. Processes, screen, traces and the Scopeway part are those of
`control_plane.demo`.
"""

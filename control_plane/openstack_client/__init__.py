"""The option `--scope` of the `openstack` command. Lives apart from the server, and is cheap."""

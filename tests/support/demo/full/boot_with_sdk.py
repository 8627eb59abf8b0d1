"""Boots a server with openstacksdk and prints its state: what a program of somebody else does.

It knows nothing of Scopeway and is run without it.

    boot_with_sdk.py CLOUD IMAGE NAME
"""

import sys

import openstack


def main() -> None:
    """CLOUD is an entry of `clouds.yaml`."""
    cloud, image, name = sys.argv[1:]
    connection = openstack.connect(cloud=cloud)
    server = connection.create_server(
        name, image=image, flavor="m1.small", auto_ip=False, wait=True, timeout=120
    )
    print(server.id, server.status)


if __name__ == "__main__":
    main()

"""Serve clusters from a SQLite database to Envoys that ask for them by name.

Other programs write to the table `clusters` with plain SQL. Triggers note the names that change,
and this program polls these notes.
"""

import argparse
import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)

from scopeway import xds

SCHEMA = """
CREATE TABLE IF NOT EXISTS clusters
    (name TEXT PRIMARY KEY, address TEXT NOT NULL, port INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS changes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON clusters
    BEGIN INSERT INTO changes (name) VALUES (new.name); END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE ON clusters
    BEGIN INSERT INTO changes (name) VALUES (old.name), (new.name); END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON clusters
    BEGIN INSERT INTO changes (name) VALUES (old.name); END;
"""


class Database:
    """The database, in a thread of its own."""

    def __init__(self, path):
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._path = path

    async def run(self, function, *arguments):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    async def open(self):
        def connect():
            self._rows = sqlite3.connect(self._path, isolation_level=None)
            self._rows.executescript(SCHEMA)

        await self.run(connect)

    async def cluster(self, name):
        def find():
            query = "SELECT address, port FROM clusters WHERE name = ?"
            return self._rows.execute(query, [name]).fetchone()

        return await self.run(find)

    async def changes(self, after):
        def find():
            query = "SELECT id, name FROM changes WHERE id > ? ORDER BY id"
            return self._rows.execute(query, [after]).fetchall()

        return await self.run(find)


class Source:
    group = "all"

    def __init__(self, database):
        self._database = database

    def type_urls(self):
        return [xds.CLUSTER]

    def attach(self, node):
        return self

    async def resource(self, type_url, name):
        row = await self._database.cluster(name)
        print(f"looked up {name}: {row}", flush=True)
        if row is None:
            return None
        address, port = row
        endpoint = Endpoint(
            address=Address(socket_address=SocketAddress(address=address, port_value=port))
        )
        return xds.resource_from_message(
            Cluster(
                name=name,
                type=ClusterDiscoveryType.STATIC,
                load_assignment=ClusterLoadAssignment(
                    cluster_name=name,
                    endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])],
                ),
            )
        )

    def wildcard(self, type_url):
        return []  # by name only

    def close(self):
        pass


async def follow(database, notifier, last):
    while True:
        await asyncio.sleep(0.2)
        changes = await database.changes(last)
        if changes:
            last = changes[-1][0]
            notifier.resources_changed(xds.CLUSTER, {name for _, name in changes})


async def main(arguments):
    database = Database(arguments.database)
    await database.open()
    changes = await database.changes(0)
    last = changes[-1][0] if changes else 0
    async with (
        xds.serve(Source(database), listen=arguments.listen) as server,
        asyncio.TaskGroup() as tasks,
    ):
        print(f"serving on port {server.port}", flush=True)
        following = tasks.create_task(follow(database, server.notifier, last))
        await asyncio.to_thread(input, "Enter ends\n")
        following.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("database", help="path of the SQLite file")
    parser.add_argument("--listen", default="127.0.0.1:18000")
    asyncio.run(main(parser.parse_args()))

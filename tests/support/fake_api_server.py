"""A stand-in for an API server: objects by path, resource versions, failures on demand."""

import copy
from collections.abc import Mapping
from typing import Any

from scopeway.control_plane.kubernetes_api.errors import ApiError

Document = dict[str, Any]


class FakeApi:
    """Keeps what is written; each write has a line in `calls`."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.calls: list[str] = []
        self.applied: list[tuple[str, Document]] = []
        self.failures: dict[str, ApiError] = {}
        """The beginning of a call, such as "apply", to its error."""
        self.version = 0

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        self._fail(f"get {path}" if query is None else f"list {path}")
        if query is not None:
            places = sorted(at for at in self.objects if at.startswith(f"{path}/"))
            listed = places[: int(query["limit"])] if "limit" in query else places
            return {"items": [copy.deepcopy(self.objects[at]) for at in listed]}
        return copy.deepcopy(self._object(path))

    async def apply(
        self,
        path: str,
        document: Mapping[str, Any],
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Document:
        assert (manager, force, subresource) == ("scopeway", True, "status")
        self._write(f"apply {path}")
        self.applied.append((path, dict(document)))
        return dict(document)

    async def create(self, path: str, document: Mapping[str, Any]) -> Document:
        at = f"{path}/{document['metadata']['name']}"
        self._write(f"create {at}")
        if at in self.objects:
            raise ApiError("exists", code=409, reason="AlreadyExists")
        return self._store(at, document)

    async def update(self, path: str, document: Mapping[str, Any]) -> Document:
        self._write(f"update {path}")
        stored = self._object(path)["metadata"]["resourceVersion"]
        if document["metadata"].get("resourceVersion") != stored:
            raise ApiError("conflict", code=409, reason="Conflict")
        return self._store(path, document)

    async def delete(self, path: str) -> bool:
        self._write(f"delete {path}")
        return self.objects.pop(path, None) is not None

    def _store(self, path: str, document: Mapping[str, Any]) -> Document:
        self.version += 1
        metadata = {**document["metadata"], "resourceVersion": str(self.version)}
        self.objects[path] = {**document, "metadata": metadata}
        return copy.deepcopy(self.objects[path])

    def _object(self, path: str) -> Document:
        if path not in self.objects:
            raise ApiError("not found", code=404, reason="NotFound", missing_object=True)
        return self.objects[path]

    def _write(self, call: str) -> None:
        self.calls.append(call)
        self._fail(call)

    def _fail(self, call: str) -> None:
        for begin, error in self.failures.items():
            if call.startswith(begin):
                raise error

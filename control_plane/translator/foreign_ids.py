"""Which clouds' ids the Lua maps and which it keeps: the identity rules of a cloud, by name.

Pure. Labels are not resolved to names here: otherwise the Lua of a site would change whenever the
labels of another cloud change.
"""

from scopeway.control_plane.clouds.model import Cloud


def id_constants(cloud: Cloud) -> dict[str, object]:
    """Return the constants of `project_ids.lua`: none if the ids of all clouds are mapped.

    `clouds_with_kept_ids` names the clouds whose ids are kept. `clouds_with_mapped_ids` is present
    if a rule keeps the ids of clouds with some labels: then only the clouds that it names, those of
    rules for mapped ids, have their ids mapped.
    """
    rules = [rule.identity for rule in cloud.accept if rule.identity is not None]
    keeping = [pattern for rule in rules if rule.ids == "kept" for pattern in rule.clouds]
    moving = {pattern.name for rule in rules if rule.ids != "kept" for pattern in rule.clouds}
    constants: dict[str, object] = {}
    kept = {pattern.name: True for pattern in keeping if pattern.name not in {None, *moving}}
    if kept:
        constants["clouds_with_kept_ids"] = kept
    if any(pattern.name is None for pattern in keeping):
        constants["clouds_with_mapped_ids"] = {name: True for name in moving if name is not None}
    return constants

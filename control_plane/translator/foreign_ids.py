"""Whose ids in paths the Lua leaves alone: what a cloud's own rules say of foreign ids, by name.

Pure. Labels don't become names here: the Lua of a site would change with the labels of others.
"""

from scopeway.control_plane.clouds.model import Cloud


def id_constants(cloud: Cloud) -> dict[str, object]:
    """Return the constants of `project_ids.lua`, none where all ids are moved.

    `kept` are the clouds whose ids are kept. Where a rule keeps those of clouds with some labels,
    `moved` are the only ones that are moved: the clouds that a rule for moved ids names.
    """
    rules = [rule.identity for rule in cloud.accept if rule.identity is not None]
    keeping = [pattern for rule in rules if rule.ids == "kept" for pattern in rule.clouds]
    moving = {pattern.name for rule in rules if rule.ids != "kept" for pattern in rule.clouds}
    constants: dict[str, object] = {}
    kept = {pattern.name: True for pattern in keeping if pattern.name not in {None, *moving}}
    if kept:
        constants["kept"] = kept
    if any(pattern.name is None for pattern in keeping):
        constants["moved"] = {name: True for name in moving if name is not None}
    return constants

"""The Lua of Scopeway's Envoys: pure modules, one adapter to Envoy's handle, and their bundling.

Must not know the control plane. docs/lua.md describes what each filter does.
"""

from scopeway.lua_filters.bundle import ENTRIES, bundle, http_literal, literal

__all__ = ["ENTRIES", "bundle", "http_literal", "literal"]

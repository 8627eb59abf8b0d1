"""Translates plans and clouds into Envoy's messages: clusters, listeners, routes, Lua and secrets.

Pure, and decides nothing: `planner` and `clouds.policy` say what is allowed. docs/envoy.md says
what Envoy makes of the messages.
"""

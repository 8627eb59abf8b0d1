"""The xDS source of the fleet: which site uses which targets, and whom a change concerns.

Holds all state that belongs neither to the registry nor to the xDS sessions. Knows no nonces.
"""

"""The xDS source of the fleet: which site uses which targets, and what a change means for whom.

Holds all state that is neither the registry's nor the xDS streams'. Knows no nonces.
"""

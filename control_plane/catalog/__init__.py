"""Folds the batches of a registry into the inventory. Pure.

Keeps the last good version of each cloud, and clouds that were lost in a mass loss.
"""

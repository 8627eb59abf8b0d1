"""Scopeway: an Envoy control plane for many independent OpenStack clouds, and its xDS library.

A program that serves xDS needs `from scopeway import xds` alone.
"""

__version__ = "0.1.0"

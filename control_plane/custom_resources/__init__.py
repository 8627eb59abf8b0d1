"""The Kubernetes resources of Scopeway: definitions and admission policies, as documents.

Pure. Everything is made of the fields, patterns and limits of `clouds`, so that the API server and
the parsers judge alike (tests/kubernetes/test_differential.py lists the differences). `python -m
scopeway.control_plane.custom_resources deploy` writes the files.
"""

"""Clouds that are registered in etcd."""

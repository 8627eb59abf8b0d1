"""Decides which clouds serve a target for one caller, and why. Pure; knows no Envoy."""

"""The registry in a folder of YAML files."""

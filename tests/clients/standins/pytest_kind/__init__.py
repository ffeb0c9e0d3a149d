"""Stands in for the pytest-kind package, which would start a cluster of containers: there is a control plane already."""

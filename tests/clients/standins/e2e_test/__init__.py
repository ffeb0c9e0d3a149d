"""Stands in for `e2e_test` of the Python clients, which their source packages lack: their other tests import its `base`."""

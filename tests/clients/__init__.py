"""Clients that are not ours, and their own test suites, unmodified, against our API server: `make clients`."""

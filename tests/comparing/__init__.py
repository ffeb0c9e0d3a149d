"""What two API servers answer to the same requests: by hand, `python -m tests.comparing REFERENCE OURS` with two kubeconfigs."""

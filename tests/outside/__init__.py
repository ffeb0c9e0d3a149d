"""Other projects' own test suites, unmodified, against ours and against a real etcd: `make outside`."""

"""Service accounts at work: each namespace gets its own, and each Pod the token of one.

controller   the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` of each namespace
secrets      fills Secrets with tokens that last
admission    gives new Pods their service account and the volume with its token
"""

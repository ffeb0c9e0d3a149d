"""The kubelet: what makes a Pod that is bound to this node run, and says how it goes."""

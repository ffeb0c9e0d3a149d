"""The Service proxy: each Service's address answers on this machine and leads to its ready Pods."""

from .agent import ServiceProxy, service_proxy

__all__ = ["ServiceProxy", "service_proxy"]

"""What the security context of a Pod or a container may say. Nothing here enforces it: processes run as whoever runs them.

Source: answers of a kube-apiserver 1.36; ValidatePodSecurityContext in K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree

from .names import invalid, is_subdomain, required, unsupported

_ID_MAX = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_NAMED = {
    "procMount": ("Default", "Unmasked"), "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "supplementalGroupsPolicy": ("Merge", "Strict"), "seLinuxChangePolicy": ("MountOption", "Recursive"),
}  # fmt: skip


def check_security_context(context: Tree, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the security context at `path`, of a container or of a whole Pod."""
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from _is_id(context.get(name), f"{path}.{name}")
    for position, group in enumerate(context.get("supplementalGroups") or ()):
        yield from _is_id(group, f"{path}.supplementalGroups[{position}]")
    for name, known in _NAMED.items():
        value = context.get(name)
        if type(value) is str and value not in known:
            yield unsupported(f"{path}.{name}", value, known)
    for name in ("seccompProfile", "appArmorProfile"):
        profile = context.get(name)
        if isinstance(profile, dict):
            yield from _check_profile(profile, name, f"{path}.{name}")
    windows = context.get("windowsOptions")
    if isinstance(windows, dict):
        yield from _check_windows(windows, f"{path}.windowsOptions")


def _is_id(value: Any, path: str) -> Iterator[Cause]:
    if type(value) is int and not 0 <= value <= _ID_MAX:
        yield invalid(path, value, f"must be between 0 and {_ID_MAX}, inclusive")


def _check_profile(profile: Tree, name: str, path: str) -> Iterator[Cause]:
    kind, local = profile.get("type"), profile.get("localhostProfile")
    if not kind:
        yield required(f"{path}.type", f"type is required when {name} is set")
    elif kind not in _PROFILES:
        yield unsupported(f"{path}.type", kind, _PROFILES)
    elif kind == "Localhost" and not local:
        what = "seccomp type is Localhost" if name == "seccompProfile" else "AppArmor type is Localhost"
        yield required(f"{path}.localhostProfile", f"must be set when {what}")
    elif kind != "Localhost" and local is not None and name == "seccompProfile":
        shown = {"Type": kind, "LocalhostProfile": local}
        yield invalid(f"{path}.localhostProfile", shown, "can only be set when seccomp type is Localhost")


def _check_windows(options: Tree, path: str) -> Iterator[Cause]:
    for name in ("gmsaCredentialSpec", "runAsUserName"):
        if options.get(name) == "":
            yield invalid(f"{path}.{name}", "", f"{name} cannot be an empty string")
    if type(spec_name := options.get("gmsaCredentialSpecName")) is str:
        yield from is_subdomain(spec_name, f"{path}.gmsaCredentialSpecName")

"""kopf's vocabulary on this engine: `import reconcile.kopf as kopf`, and an operator written for kopf runs here.

Decorators, filters, keyword arguments, errors, memos, indexes, daemons, timers, sub-handlers, hierarchies and events are kopf's;
underneath is the level-triggered engine: state on the object is a digest, nothing waits for its own echo, and no update is lost.
docs/toolkit-features.md says, row by row, what is the same and what is not.

Run such an operator with `reconcile run app.py`, drop it into a folder of `reconcile up`, or embed it with `kopf.operator()`.

Source: https://docs.kopf.dev
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reconcile.filters import ABSENT, PRESENT

from . import on
from .bodies import Annotations, Body, BodyEssence, Labels, Meta, RawBody, RawEvent, Spec, Status
from .diffs import Diff, DiffItem, DiffOperation
from .errors import (
    AdmissionError,
    ErrorsMode,
    HandlerFatalError,
    HandlerRetriesError,
    HandlerTimeoutError,
    LoginError,
    PermanentError,
    TemporaryError,
)  # fmt: skip
from .hierarchies import (
    adjust_namespace,
    adopt,
    append_owner_reference,
    build_object_reference,
    build_owner_reference,
    harmonize_naming,
    label,
    remove_owner_reference,
)  # fmt: skip
from .memos import Memo
from .on import daemon, execute, index, register, subhandler, timer
from .patches import Patch
from .posting import event, exception, info, warn
from .registries import OperatorRegistry, get_default_registry, set_default_registry
from .selectors import EVERYTHING, Resource, all_, any_, none_, not_
from .settings import OperatorSettings, WebhookServer
from .settings import WebhookServer as WebhookAutoServer
from .settings import WebhookServer as WebhookAutoTunnel
from .settings import WebhookServer as WebhookDockerDesktopServer
from .settings import WebhookServer as WebhookK3dServer
from .settings import WebhookServer as WebhookMinikubeServer
from .settings import WebhookServer as WebhookNgrokTunnel

if TYPE_CHECKING:
    from reconcile.login import ConnectionInfo

    from .running import (
        configure,
        login_via_client,
        login_via_pykube,
        login_with_kubeconfig,
        login_with_service_account,
        operator,
        run,
        spawn_tasks,
    )

_LATER = {
    "ConnectionInfo": "reconcile.login", "configure": ".running", "operator": ".running", "run": ".running",
    "spawn_tasks": ".running", "login_via_client": ".running", "login_via_pykube": ".running",
    "login_with_kubeconfig": ".running", "login_with_service_account": ".running",
}  # fmt: skip
_WORDS = {
    "Logger", "ObjectLogger", "Index", "Store", "DaemonStopped", "Headers", "SSLPeer", "UserInfo", "WebhookClientConfig",
    "DaemonStoppingReason", "Reason", "Namespace", "Name", "NamespaceName",
}  # fmt: skip
"""Names that kopf's users write in annotations alone."""

__all__ = [
    "ABSENT", "EVERYTHING", "PRESENT", "AdmissionError", "Annotations", "Body", "BodyEssence", "ConnectionInfo", "Diff",
    "DiffItem", "DiffOperation", "ErrorsMode", "HandlerFatalError", "HandlerRetriesError", "HandlerTimeoutError",
    "Labels", "LoginError", "Memo", "Meta", "OperatorRegistry", "OperatorSettings", "Patch", "PermanentError", "RawBody",
    "RawEvent", "Resource", "Spec", "Status", "TemporaryError", "WebhookAutoServer", "WebhookAutoTunnel",
    "WebhookDockerDesktopServer", "WebhookK3dServer", "WebhookMinikubeServer", "WebhookNgrokTunnel", "WebhookServer",
    "adjust_namespace", "adopt", "all_", "any_", "append_owner_reference", "build_object_reference",
    "build_owner_reference", "configure", "daemon", "event", "exception", "execute", "get_default_registry",
    "harmonize_naming", "index", "info", "label", "login_via_client", "login_via_pykube", "login_with_kubeconfig",
    "login_with_service_account", "none_", "not_", "on", "operator", "register", "remove_owner_reference", "run",
    "set_default_registry", "spawn_tasks", "subhandler", "timer", "warn",
]  # fmt: skip


class _Word:
    """Stands for a type that is written in annotations; `Index[K, V]` gives itself."""

    def __class_getitem__(cls, _: Any) -> type[_Word]:
        return cls


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    if name in _WORDS:
        return _Word
    raise AttributeError(
        f"reconcile.kopf has no {name!r}; docs/toolkit-features.md says what of kopf is not here, and what to use instead"
    )

"""A Pod's volumes: files that come from elsewhere, or live as long as the Pod."""

from __future__ import annotations

from typing import Any

from reconcile.quantities import Quantity
from reconcile.views import field, struct

from .container import ObjectFieldSelector, ResourceFieldSelector


@struct
class KeyToPath:
    """Writes one key to a path of its own."""

    key: str
    path: str
    mode: int | None = None


@struct
class ConfigMapVolumeSource:
    """The keys of a ConfigMap as files."""

    name: str = ""
    items: list[KeyToPath] = field(factory=list, list_type="atomic", doc="Which keys, and where; all unless given.")
    default_mode: int = 0o644
    optional: bool | None = None


@struct
class SecretVolumeSource:
    """The keys of a Secret as files."""

    secret_name: str = ""
    items: list[KeyToPath] = field(factory=list, list_type="atomic")
    default_mode: int = 0o644
    optional: bool | None = None


@struct
class EmptyDirVolumeSource:
    """A folder that is empty at first and lives as long as the Pod."""

    medium: str = ""
    size_limit: Quantity | None = None


@struct
class HostPathVolumeSource:
    """A file or folder of the node."""

    path: str
    type: str | None = field(default=None, doc="What must be there, or is made: DirectoryOrCreate, File ...")


@struct
class DownwardAPIVolumeFile:
    """One file with a field of the Pod in it."""

    path: str
    field_ref: ObjectFieldSelector | None = field(default=None, map_type="atomic")
    resource_field_ref: ResourceFieldSelector | None = field(default=None, map_type="atomic")
    mode: int | None = None


@struct
class DownwardAPIVolumeSource:
    """Fields of the Pod as files."""

    items: list[DownwardAPIVolumeFile] = field(factory=list, list_type="atomic")
    default_mode: int = 0o644


@struct
class ProjectedObject:
    """A ConfigMap or Secret inside a projected volume."""

    name: str = ""
    items: list[KeyToPath] = field(factory=list, list_type="atomic")
    optional: bool | None = None


@struct
class DownwardAPIProjection:
    """Fields of the Pod inside a projected volume."""

    items: list[DownwardAPIVolumeFile] = field(factory=list, list_type="atomic")


@struct
class ServiceAccountTokenProjection:
    """A token of the Pod's service account inside a projected volume."""

    audience: str = ""
    expiration_seconds: int | None = None
    path: str


@struct
class VolumeProjection:
    """One source of a projected volume."""

    secret: ProjectedObject | None = None
    config_map: ProjectedObject | None = None
    downward_api: DownwardAPIProjection | None = field(default=None, name="downwardAPI")
    service_account_token: ServiceAccountTokenProjection | None = None
    cluster_trust_bundle: dict[str, Any] | None = field(default=None, preserve_unknown=True)


@struct
class ProjectedVolumeSource:
    """Several sources in one folder."""

    sources: list[VolumeProjection] = field(factory=list, list_type="atomic")
    default_mode: int = 0o644


@struct
class PersistentVolumeClaimVolumeSource:
    """A claim on storage that outlives the Pod."""

    claim_name: str
    read_only: bool = False


@struct
class Volume:
    """A named volume with exactly one source."""

    name: str
    config_map: ConfigMapVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = field(default=None, name="downwardAPI")
    projected: ProjectedVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    nfs: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    csi: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    image: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    ephemeral: dict[str, Any] | None = field(default=None, preserve_unknown=True)

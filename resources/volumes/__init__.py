"""Volumes of this machine: claims get a folder, or a volume that somebody made by hand."""

from .binder import local_volumes
from .claims import volume_path
from .provisioner import local_provisioner

__all__ = ["local_provisioner", "local_volumes", "volume_path"]

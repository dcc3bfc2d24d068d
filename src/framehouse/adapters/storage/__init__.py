"""Where pictures and references are kept: a folder, S3, GCS or Azure, by URL."""

from framehouse.adapters.storage.base import Storage, StorageAway
from framehouse.adapters.storage.store import open_storage

__all__ = ["Storage", "StorageAway", "open_storage"]

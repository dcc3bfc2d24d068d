"""Where pictures and references are kept: a folder, S3, GCS or Azure, by URL."""

from framehouse.adapters.storage.base import Storage, StorageAway, StorageWrong
from framehouse.adapters.storage.store import folder_of, open_storage

__all__ = ["Storage", "StorageAway", "StorageWrong", "folder_of", "open_storage"]

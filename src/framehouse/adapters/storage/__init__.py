"""Where pictures and references are kept: a folder, S3, GCS or Azure, by URL."""

from framehouse.adapters.storage.object_store import folder_of, open_storage
from framehouse.adapters.storage.protocol import Storage, StorageAway, StorageWrong

__all__ = ["Storage", "StorageAway", "StorageWrong", "folder_of", "open_storage"]

"""Object storage for images and references: a folder, or an S3, GCS or Azure bucket. A URL selects the storage."""

from framehouse.adapters.storage.object_store import folder_of, open_storage
from framehouse.adapters.storage.protocol import Storage, StorageMisconfigured, StorageUnavailable

__all__ = ["Storage", "StorageMisconfigured", "StorageUnavailable", "folder_of", "open_storage"]

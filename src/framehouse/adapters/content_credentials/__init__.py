"""Content credentials: C2PA manifests, which state in signed metadata how an image was made."""

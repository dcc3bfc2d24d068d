"""Sign image files: add a C2PA manifest to the file of an image, with the c2pa library."""

import io
import logging
import threading
import time
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from c2pa import Builder, C2paError, C2paSignerInfo, Context, Settings, Signer

from framehouse.adapters.content_credentials.certificates import SigningIdentity
from framehouse.adapters.content_credentials.manifests import (
    Claims,
    Ingredient,
    SigningFailed,
    manifest_definition,
    relate_ingredients,
)
from framehouse.adapters.reference_files.file_types import HEAD_BYTES, image_type

log = logging.getLogger(__name__)
_PURPOSES = "1.3.6.1.5.5.7.3.4\n1.3.6.1.5.5.7.3.36\n1.3.6.1.4.1.62558.2.1\n"
"""The accepted purposes of a certificate (extended key usage): e-mail protection, document signing, C2PA signing."""
_MAX_MANIFEST_BYTES = 1_000_000
"""The maximum size of a manifest. It contains the manifests of all ingredients, which can contain thumbnails."""
_ONE_PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC")
_CHECK_CLAIMS = Claims("", "algorithmicMedia", "check", {})
_TIME_STAMP_PAUSE_S = 60.0
"""The time in seconds for which a time-stamp authority is not used after it has failed. Each failure can take 30 s."""


def reading_settings(anchors: str) -> dict[str, Any]:
    """Return the settings of the c2pa library for reading files from any source.

    `anchors` contains the certificates that are trusted, as PEM. Without these settings, the library fetches the URL of
    a manifest that a file names, from any address. The library ignores unknown settings.
    """
    return {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
        "core": {"allowed_network_hosts": []},
        "trust": {"trust_config": _PURPOSES} | ({"user_anchors": anchors} if anchors else {}),
    }


class _BadIngredient(Exception):
    """Raised when the library cannot read an ingredient."""


class CredentialSigner:
    """Signs images with one certificate. The methods can be called from several threads.

    A context of the library is not valid in a forked process, so the contexts are created when they are first used.
    """

    def __init__(self, identity: SigningIdentity, *, anchors: str = "", time_stamp_url: str = "") -> None:
        """`anchors` contains the certificates that count as trusted in the manifests of ingredients, as PEM.

        `time_stamp_url` is the URL of a time-stamp authority (RFC 3161), or empty.
        """
        self._identity = identity
        self._settings = reading_settings(anchors or identity.chain)
        self._time_stamp_url = time_stamp_url
        self._no_time_stamps_until = 0.0
        self._contexts: dict[str, Context] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """Sign an image of one pixel, to check the certificate and its key. Raises SigningFailed."""
        _signed(_builder(self._context(""), _CHECK_CLAIMS, None, ()), _ONE_PIXEL, "image/png")

    def sign(
        self,
        content: bytes,
        media_type: str,
        claims: Claims,
        *,
        parent: Ingredient | None = None,
        inputs: Sequence[Ingredient] = (),
    ) -> bytes:
        """Return the file with a manifest. The pixels and the other metadata are not changed. Blocks the thread.

        If the time-stamp authority does not respond, the image is signed without a time stamp. An ingredient is omitted
        if its manifest is damaged or too large. Raises SigningFailed.
        """
        try:
            signed = self._sign(content, media_type, claims, parent, inputs)
            if len(signed) - len(content) <= _MAX_MANIFEST_BYTES:
                return signed
            problem = f"the manifests have more than {_MAX_MANIFEST_BYTES:,} bytes"
        except _BadIngredient as error:
            problem = str(error)
        except SigningFailed as error:
            if not parent and not inputs:
                raise
            problem = str(error)  # the library checks some parts of ingredients only when it signs
        log.warning("an image is signed without some of its ingredients: %s", problem)
        kept = [file if file and self._is_usable(file) else None for file in (parent, *inputs)]
        used = [file for file in kept[1:] if file]
        signed = self._sign(content, media_type, claims, kept[0], used)
        if len(signed) - len(content) > _MAX_MANIFEST_BYTES:  # many manifests, none of which is too large
            signed = self._sign(content, media_type, claims, None, ())
        return signed

    def _is_usable(self, file: Ingredient) -> bool:
        """Return whether the ingredient has an intact manifest that is not too large."""
        try:
            signed = _signed(_builder(self._context(""), _CHECK_CLAIMS, None, (file,)), _ONE_PIXEL, "image/png")
        except (_BadIngredient, SigningFailed):
            return False
        return len(signed) <= _MAX_MANIFEST_BYTES

    def _sign(
        self,
        content: bytes,
        media_type: str,
        claims: Claims,
        parent: Ingredient | None,
        inputs: Sequence[Ingredient],
    ) -> bytes:
        """Return the signed file. Raises _BadIngredient and SigningFailed."""
        if self._time_stamp_url and time.monotonic() >= self._no_time_stamps_until:
            builder = _builder(self._context(self._time_stamp_url), claims, parent, inputs)
            try:
                return _signed(builder, content, media_type)
            except SigningFailed as error:
                problem = error
            signed = _signed(_builder(self._context(""), claims, parent, inputs), content, media_type)
            self._pause_time_stamps(problem)  # signing works without the authority, so the authority is the cause
            return signed
        return _signed(_builder(self._context(""), claims, parent, inputs), content, media_type)

    def _pause_time_stamps(self, error: SigningFailed) -> None:
        """Use no time stamps for a while. Of several threads that fail at the same time, only one logs a warning."""
        with self._lock:
            now = time.monotonic()
            if now >= self._no_time_stamps_until:
                log.warning("images are signed without a time stamp for %.0f s: %s", _TIME_STAMP_PAUSE_S, error)
            self._no_time_stamps_until = now + _TIME_STAMP_PAUSE_S

    def _context(self, time_stamp_url: str) -> Context:
        """Return the context with or without a time-stamp authority. The first call creates the context."""
        with self._lock:
            if time_stamp_url not in self._contexts:
                identity = self._identity
                try:
                    info = C2paSignerInfo(
                        identity.algorithm.encode(),
                        identity.chain.encode(),
                        identity.key.encode(),
                        time_stamp_url or None,
                    )
                    self._contexts[time_stamp_url] = Context(Settings.from_dict(self._settings), Signer.from_info(info))
                except C2paError as error:
                    raise SigningFailed(f"the certificate or its key cannot be used: {error}") from error
            return self._contexts[time_stamp_url]


def _builder(context: Context, claims: Claims, parent: Ingredient | None, inputs: Sequence[Ingredient]) -> Builder:
    """Return an unsigned manifest that contains the ingredients. Raises _BadIngredient and SigningFailed."""
    relations = relate_ingredients(claims, len(inputs), parent=parent is not None)
    try:
        builder = Builder(manifest_definition(claims, relations), context)
    except C2paError as error:
        raise SigningFailed(f"{type(error).__name__}: {error}") from error
    for relation, file in zip(relations, [*([parent] if parent else []), *inputs], strict=True):
        ingredient = {"title": file.title, "relationship": relation.relationship, "label": relation.label}
        try:
            builder.add_ingredient(ingredient, _media_type(file.content), io.BytesIO(file.content))
        except C2paError as error:
            raise _BadIngredient(f"{file.title}: {type(error).__name__}: {error}") from error
    return builder


def _signed(builder: Builder, content: bytes, media_type: str) -> bytes:
    """Return the file with the signed manifest. Raises SigningFailed."""
    signed = io.BytesIO()
    try:
        builder.sign(media_type, io.BytesIO(content), signed)
    except C2paError as error:
        raise SigningFailed(f"{type(error).__name__}: {error}") from error
    return signed.getvalue()


def parse_manifest(content: bytes) -> None:
    """Parse the manifest of an image file in the same way as the manifest of an ingredient. Never raises.

    A process with limits calls this function before the signer parses the same manifest, so that a malicious manifest
    can only stop the process with limits.
    """
    with suppress(C2paError):
        context = Context(Settings.from_dict(reading_settings("")))
        Builder(manifest_definition(_CHECK_CLAIMS, ()), context).add_ingredient(
            {"title": "", "relationship": "inputTo"}, _media_type(content), io.BytesIO(content)
        )


def _media_type(content: bytes) -> str:
    """Return the media type of an image file. A file of an unknown type counts as HEIC."""
    kind = image_type(content[:HEAD_BYTES]) or "heic"
    return f"image/{'jpeg' if kind == 'jpg' else kind}"

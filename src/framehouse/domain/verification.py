"""What can be said about the origin of an image: the statements in its file, and the verdict that follows from them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from framehouse.domain.provenance import SOURCE_DESCRIPTIONS, DigitalSourceType

MAX_VERIFIED_BYTES = 64_000_000
"""The maximum size of an image to verify. A PNG file of 4096x4096 pixels that was generated here has up to 50 MB."""
SIMILAR_DISTANCE = 31
"""The maximum distance of the perceptual hashes of similar images. In 70,757 pairs of unrelated images, the smallest
distance was 36. Copies that were resized to 50 % and compressed as JPEG 70 had distances up to 22."""
OTHER_IMAGE_DISTANCE = 96
"""From this distance on, a file does not show the image that its metadata names. Labelled copies had distances up to
72. The median distance of unrelated images is 128."""

Evidence = Literal["signature", "metadata", "similarity"]
"""The strongest evidence for the origin of an image.

    signature    the file is signed by this deployment
    metadata     the metadata of the file, which is not signed, names an image that was made here
    similarity   the image looks like an image that was made here
"""
Verdict = Literal["made_here", "altered", "metadata", "similar", "unknown"]
"""The verdict on an image.

    made_here   made here, and not changed since
    altered     the file has the signature of an image that was made here, but was changed later
    metadata    made here according to its metadata, which is not signed
    similar     looks like an image that was made here
    unknown     no evidence that the image was made here
"""
SOURCE_TYPES: tuple[DigitalSourceType, ...] = get_args(DigitalSourceType)
_LABEL_SENTENCES = {
    "1": "generated or changed by AI",
    "2": "possibly generated or changed by AI",
    "3": "suspected to be generated or changed by AI",
}


@dataclass(frozen=True, slots=True)
class Generation:
    """How an image was generated, according to its file. Empty values are not known.

    `task_id` and `index` name the image of a Framehouse task. `index` is -1 if it is not known.
    """

    task_id: str = ""
    index: int = -1
    model: str = ""
    engine: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class SignerName:
    """The name in the certificate of a signature.

    If `trusted` is false, the certificate may contain a false name.
    """

    name: str
    organization: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class UsedFile:
    """A file from which an image was made, as its content credentials state.

    `relationship` is a term of C2PA, such as `inputTo`. `altered` is None if the file has no content credentials.
    """

    title: str
    relationship: str
    altered: bool | None


@dataclass(frozen=True, slots=True)
class ContentCredentials:
    """The content credentials (C2PA) of a file.

    `authentic` is true if the signature fits the statements. `intact` is true if the signature is authentic and the
    file was not changed after it was signed. `signed_here` is true if the certificate belongs to this deployment.
    `signer` is None if the credentials are too damaged to read. If the statement about the generation was changed,
    `generation` is empty. `source_type` is empty if it is not stated.
    """

    signer: SignerName | None
    authentic: bool
    intact: bool
    signed_here: bool
    generation: Generation = Generation()
    source_type: DigitalSourceType | Literal[""] = ""
    used_files: tuple[UsedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class AigcLabel:
    """The implicit label of GB 45438-2025: its value ("1" generated, "2" possibly, "3" suspected) and its producer."""

    value: str
    producer: str


@dataclass(frozen=True, slots=True)
class FileClaims:
    """The statements that a file contains about its image, and the perceptual hashes of the image.

    `facts` come from the XMP metadata that Framehouse writes, which is not signed. `hashes` contains the hash of the
    image as 64 hexadecimal digits. If the image has a border of one colour, `hashes` also contains the hash of the
    image without the border. `hashes` is empty if the image shows almost nothing but one colour.
    """

    credentials: ContentCredentials | None = None
    facts: Generation | None = None
    source_type: DigitalSourceType | Literal[""] = ""
    label: AigcLabel | None = None
    hashes: tuple[str, ...] = ()

    @property
    def named_image(self) -> Generation | None:
        """The image of a task that the file names. Authentic credentials of this deployment take precedence."""
        credentials = self.credentials
        if credentials and credentials.signed_here and credentials.authentic and credentials.generation.task_id:
            return credentials.generation
        return self.facts if self.facts and self.facts.task_id else None


@dataclass(frozen=True, slots=True)
class RecordedImage:
    """An image in the database.

    `distance` is the distance of its perceptual hash to the verified image (0 to 256), or None if it has no hash.
    """

    account_id: int
    account: str
    task_id: UUID
    index: int
    model: str
    engine: str
    created_at: datetime
    distance: int | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification.

    `made_here` is true only if a signature or the metadata shows it. `altered` is None if it is not known whether the
    image was changed. `copied_metadata` is true if the metadata names an image that was made here, but the file shows
    another image."""

    made_here: bool = False
    evidence: Evidence | None = None
    altered: bool | None = None
    copied_metadata: bool = False
    model: str = ""
    engine: str = ""
    created_at: datetime | str = ""
    account: str = ""
    task_id: str = ""
    index: int | None = None
    source_type: DigitalSourceType | Literal[""] = ""
    signer: SignerName | None = None
    label: AigcLabel | None = None
    used_files: tuple[UsedFile, ...] = ()
    distance: int | None = None
    owner_id: int | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        if self.evidence == "signature":
            return "altered" if self.altered else "made_here"
        if self.evidence == "metadata":
            return "metadata"
        return "similar" if self.evidence == "similarity" else "unknown"

    @property
    def proven(self) -> bool:
        """Whether a signature proves that the image was made here and was not changed."""
        return self.verdict == "made_here"


def judge(claims: FileClaims, named: RecordedImage | None, similar: RecordedImage | None) -> Verification:
    """Derive the verdict on an image.

    `named` is the recorded image that the file names (see `FileClaims.named_image`). `similar` is the recorded image
    with the most similar perceptual hash; it counts only if its distance is at most SIMILAR_DISTANCE.
    """
    credentials = claims.credentials
    base = Verification(
        altered=_altered(credentials),
        source_type=(credentials.source_type if credentials else "") or claims.source_type,
        signer=credentials.signer if credentials and credentials.authentic else None,
        label=claims.label,
        used_files=credentials.used_files if credentials else (),
    )
    if credentials and credentials.signed_here and credentials.authentic:
        found = replace(base, made_here=True, evidence="signature")
        return _with_record(found, named) if named else _with_generation(found, credentials.generation)
    # the image may have been changed before another program signed it
    base = replace(base, altered=base.altered or None) if named or similar else base
    copied = bool(named and named.distance is not None and named.distance >= OTHER_IMAGE_DISTANCE)
    if named and not copied:
        return _with_record(replace(base, made_here=True, evidence="metadata"), named)
    if similar and similar.distance is not None and similar.distance <= SIMILAR_DISTANCE:
        return _with_record(replace(base, evidence="similarity", copied_metadata=copied), similar)
    foreign = credentials.generation if credentials and credentials.authentic else claims.facts
    found = replace(base, copied_metadata=copied)
    return _with_generation(found, foreign) if foreign and not copied else found


def for_account(verification: Verification, account_id: int) -> Verification:
    """Remove the details that only the owner of the image may see.

    Another account learns whether the image was made here, and the statements about the signer, the source type and the
    label, which are part of the file.
    """
    if verification.owner_id == account_id:
        return replace(verification, account="")
    if verification.evidence is None and not verification.copied_metadata:
        return replace(verification, account="", task_id="", index=None)
    return replace(
        verification,
        model="",
        engine="",
        created_at="",
        account="",
        task_id="",
        index=None,
        used_files=(),
        distance=None,
        owner_id=None,
    )


def sentences(verification: Verification) -> list[str]:
    """Return the result in English. The first sentence or two are the verdict, and the others are the details."""
    return [_VERDICT_SENTENCES[verification.verdict], *_details(verification)]


_VERDICT_SENTENCES: dict[Verdict, str] = {
    "made_here": "This image was made here. The file was not changed after it was signed.",
    "altered": "This file has the signature of an image that was made here, but the file was changed later.",
    "metadata": "According to its metadata, this image was made here. The metadata is not signed, so this is no proof.",
    "similar": "This image looks like an image that was made here. The similarity is no proof.",
    "unknown": "Nothing shows that this image was made here.",
}


def _details(verification: Verification) -> Iterator[str]:
    if verification.copied_metadata:
        yield "The metadata names an image that was made here, but that image looks different."
    if verification.verdict in ("metadata", "unknown", "similar") and verification.altered:
        yield "The file has content credentials, but the file was changed after it was signed."
    subject = {"similar": "The similar image", "altered": "The signed image"}.get(verification.verdict, "It")
    if line := _generated(verification, subject):
        yield line
    if verification.task_id and verification.owner_id is not None:
        account = f" of the account {verification.account}" if verification.account else ""
        image = "" if verification.index is None else f"image {verification.index} of "
        yield f"{subject} is {image}the task {verification.task_id}{account}."
    if signer := verification.signer:
        names = dict.fromkeys(name for name in (signer.name, signer.organization) if name)
        trust = "" if signer.trusted else ", which this server does not trust. It may be a false name"
        yield f"The signature names {' of '.join(names) or 'nobody'}{trust}."
    if verification.source_type:
        prefix = "" if verification.proven else "According to the file: "
        yield f"{prefix}It was {SOURCE_DESCRIPTIONS[verification.source_type]}."
    if label := verification.label:
        meaning = _LABEL_SENTENCES.get(label.value, "of an unknown kind")
        producer = f", by the producer {label.producer}" if label.producer else ""
        yield f"The file has the label AIGC: {meaning}{producer}."
    if verification.used_files:
        titles = ", ".join(used.title or "a file without a title" for used in verification.used_files)
        yield f"It was made from other files: {titles}."
        for used in verification.used_files:
            if used.altered:
                yield f"The file {used.title or 'without a title'} was changed before it was used."


def _generated(verification: Verification, subject: str) -> str:
    model, engine, time = verification.model, verification.engine, verification.created_at
    if not (model or engine or time):
        return ""
    by = f" by the model {model}" if model else ""
    by += f" with the engine {engine}" if engine else ""
    at = f" on {time:%Y-%m-%d at %H:%M} UTC" if isinstance(time, datetime) else f" at {time}" if time else ""
    claimed = verification.evidence is None
    return f"{'According to the file, it' if claimed else subject} was generated{by}{at}."


def _altered(credentials: ContentCredentials | None) -> bool | None:
    """Return whether a file was changed after it was signed. Returns None if it is not signed."""
    return None if credentials is None else not credentials.intact


def _with_record(verification: Verification, image: RecordedImage) -> Verification:
    return replace(
        verification,
        model=image.model,
        engine=image.engine,
        created_at=image.created_at,
        account=image.account,
        task_id=str(image.task_id),
        index=image.index,
        distance=image.distance,
        owner_id=image.account_id,
    )


def _with_generation(verification: Verification, generation: Generation) -> Verification:
    return replace(
        verification,
        model=generation.model,
        engine=generation.engine,
        created_at=generation.created_at,
        task_id=generation.task_id,
        index=None if generation.index < 0 else generation.index,
    )

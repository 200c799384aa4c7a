"""How a request names an image."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from attribution_contracts.base import Sha256, Wire, require_one_of
from attribution_contracts.patterns import BASE64

Base64 = Annotated[str, StringConstraints(min_length=4, pattern=BASE64)]


class ImageRef(Wire):
    """An image: exactly one of its bytes, the digest of an upload, or a part of the multipart body."""

    example: ClassVar[dict[str, object]] = {"part": "image"}

    data: Base64 | None = None
    """The file's bytes (JPEG, PNG or WebP) in base64, in the usual alphabet or that for URLs; or as a `data:` URI."""
    image: Sha256 | None = None
    """The digest of an image uploaded before."""
    part: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The name of the part of the multipart body that holds the file."""

    @model_validator(mode="after")
    def _require_one_source(self) -> "ImageRef":
        require_one_of(self, "data", "image", "part")
        return self


class UploadedImage(Wire):
    """What an upload returns: the digest to name the image by, and what its header says."""

    sha256: Sha256
    media_type: str
    width: int
    height: int
    size: int
    """Bytes of the file."""

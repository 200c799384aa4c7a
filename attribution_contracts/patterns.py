"""Patterns of names, and what they say in words."""

NAME = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
MODEL_REF = r"^[a-z0-9][a-z0-9._-]{0,63}(?:@[a-z0-9][a-z0-9._-]{0,63})?$"
SHA256 = r"^[0-9a-f]{64}$"
LABEL_KEY = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
ARCHITECTURE = (
    r"^(?:torchvision:[a-z0-9_]{1,64}|mnist_cnn|cifar_resnet(?:20|32|44|56)|small_vit|two_class_head|onnx"
    r"|factory:[a-z0-9._-]{1,64})$"
)
FACTORY = r"^[a-z0-9._-]{1,64}$"
FACTORY_TARGET = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
DEVICE = r"^(?:auto|cpu|cuda(?::\d+)?)$"
BASE64 = r"^(?:data:[^,]{0,200};base64,)?[A-Za-z0-9+/_\-\s]+={0,2}\s*$"

OUR_OPTIONS: dict[str, tuple[str, ...]] = {
    "mnist_cnn": ("num_classes",),
    "cifar_resnet20": ("num_classes",),
    "cifar_resnet32": ("num_classes",),
    "cifar_resnet44": ("num_classes",),
    "cifar_resnet56": ("num_classes",),
    "small_vit": ("num_classes",),
    "two_class_head": ("backbone", "hidden", "dropout"),
}
"""The options of each of our architectures."""

OUR_ARCHITECTURES = tuple(OUR_OPTIONS)
ONNX = "onnx"
"""The architecture of a file that is the whole network."""

LABEL_FILTER = r"^[^:\x00]{1,64}:[^\x00]{0,200}$"
METHOD = r"^[a-z0-9_]{1,64}$"
CURSOR = r"^[A-Za-z0-9_=-]{1,400}$"
QUANTITY = r"^[a-z_]+$"
NO_NUL = r"^[^\x00]*$"
TORCHVISION_WEIGHTS = r"^[A-Za-z0-9_.]{1,100}$"
LOCATION = r"^(?:file:///|s3://)[^\x00-\x1f?#\\]+$"

WORDS = {
    NAME: "1 to 64 lower-case letters, digits, dots, dashes and underscores, with a letter or digit at both ends",
    MODEL_REF: "`name` or `name@version` of lower-case letters, digits, dots, dashes and underscores",
    SHA256: "a SHA-256 digest: 64 lower-case hexadecimal digits",
    BASE64: "the bytes of a JPEG, PNG or WebP file in base64, or a data: URI of them; addresses are not fetched",
    LABEL_KEY: "1 to 63 letters, digits, dots, dashes, underscores and slashes, with a letter or digit first",
    LABEL_FILTER: "key:value, such as team:vision",
    METHOD: "the id of a method in lower-case letters, digits and underscores, such as integrated_gradients",
    CURSOR: "the `next_cursor` of a page before",
    QUANTITY: "the name of a quantity in lower-case letters and underscores, such as attributions",
    NO_NUL: "text without the character NUL",
    TORCHVISION_WEIGHTS: "the name of torchvision's weights, such as IMAGENET1K_V1",
    LOCATION: "an address that begins with file:/// or s3://, without ? and #",
    FACTORY: "1 to 64 lower-case letters, digits, dots, dashes and underscores",
    FACTORY_TARGET: "package.module:function",
    DEVICE: "auto, cpu, cuda or cuda:<number>",
    ARCHITECTURE: f"torchvision:<name>, {', '.join(OUR_ARCHITECTURES)}, {ONNX} or factory:<name>",
}
"""What to say to whoever gave something else."""

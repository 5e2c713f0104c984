"""Where the gateway may answer otherwise than the Triton behind it: the cases of the protocol, and no others."""

from __future__ import annotations

from enum import Enum, unique


@unique
class Why(Enum):
    """A case, in a sentence."""

    UNKNOWN_MODEL = "an unknown model or version is 404 or NOT_FOUND, whatever is asked of it but `ModelReady`"
    UNKNOWN_PATH = "a path that is none of ours is 404 or UNIMPLEMENTED, with a sentence"
    WRONG_METHOD = "405 comes with Allow"
    TOO_LARGE = "a body over the limit is 413 or RESOURCE_EXHAUSTED"
    LOADS = "load and unload are refused on the prediction port"
    NOT_OFFERED = "shared memory, trace and logging belong to one Triton"
    NESTING = "JSON nested deeper than 512 levels is 400"
    VERSIONS = "the versions in metadata are those that the gateway routes to"
    OWN_VIEW = "server metadata and the repository's index are the gateway's"
    JSON_LENGTH = "a senseless Inference-Header-Content-Length is 400"
    FRAMING = "malformed HTTP, a bad or missing length and a large head are 400; well-formed HTTP is taken"
    CODING = "a body that cannot be inflated is 400: nobody could say how deep it is nested"
    MALFORMED = "a message that cannot be read is INVALID_ARGUMENT"
    CHOSEN = "an answer on a stream that has no outputs names the version that the gateway chose"
    MORE = "health can be watched and the service described, which Triton 2.51 does not offer"
    CONNECT = "CONNECT is 400, and the connection ends"

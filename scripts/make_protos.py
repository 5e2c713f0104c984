"""Writes what server reflection tells: the descriptors of Triton's services, of health and of reflection.

Run as `python -m scripts.make_protos` after a change of tritonclient's protos; a test compares. The worker reads the
file and needs neither protobuf nor tritonclient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

TARGET: Final = Path(__file__).parents[1] / "serving" / "gateway" / "grpc" / "protos.binpb"
_Type = descriptor_pb2.FieldDescriptorProto
_TEXT, _BYTES, _INT, _MESSAGE, _ENUM = (
    _Type.TYPE_STRING, _Type.TYPE_BYTES, _Type.TYPE_INT32, _Type.TYPE_MESSAGE, _Type.TYPE_ENUM,
)  # fmt: skip
_ONE_OF_ASKED = (
    ("file_by_filename", 3, _TEXT, ""), ("file_containing_symbol", 4, _TEXT, ""),
    ("file_containing_extension", 5, _MESSAGE, "ExtensionRequest"),
    ("all_extension_numbers_of_type", 6, _TEXT, ""), ("list_services", 7, _TEXT, ""),
)  # fmt: skip
_ONE_OF_ANSWERED = (
    ("file_descriptor_response", 4, _MESSAGE, "FileDescriptorResponse"),
    ("all_extension_numbers_response", 5, _MESSAGE, "ExtensionNumberResponse"),
    ("list_services_response", 6, _MESSAGE, "ListServiceResponse"),
    ("error_response", 7, _MESSAGE, "ErrorResponse"),
)


def made() -> bytes:
    """The FileDescriptorSet, imports first."""
    found = descriptor_pb2.FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        module.DESCRIPTOR.CopyToProto(found.file.add())
    found.file.append(_health())
    found.file.extend(_reflection(version) for version in ("v1", "v1alpha"))
    written: bytes = found.SerializeToString(deterministic=True)
    return written


def _file(name: str, package: str) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")


def _health() -> descriptor_pb2.FileDescriptorProto:
    """https://github.com/grpc/grpc/blob/master/doc/health-checking.md."""
    file = _file("grpc/health/v1/health.proto", "grpc.health.v1")
    _message(file, "HealthCheckRequest", ("service", 1, _TEXT, ""))
    answer = _message(file, "HealthCheckResponse", ("status", 1, _ENUM, "HealthCheckResponse.ServingStatus"))
    statuses = answer.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        statuses.value.add(name=name, number=number)
    service = file.service.add(name="Health")
    for name in ("Check", "Watch"):
        service.method.add(
            name=name, input_type=".grpc.health.v1.HealthCheckRequest",
            output_type=".grpc.health.v1.HealthCheckResponse", server_streaming=name == "Watch",
        )  # fmt: skip
    return file


def _reflection(version: str) -> descriptor_pb2.FileDescriptorProto:
    """https://github.com/grpc/grpc-proto/tree/master/grpc/reflection: v1 is v1alpha under another name."""
    file = _file(f"grpc/reflection/{version}/reflection.proto", f"grpc.reflection.{version}")
    asked = _message(file, "ServerReflectionRequest", ("host", 1, _TEXT, ""))
    _one_of(file, asked, "message_request", _ONE_OF_ASKED)
    _message(file, "ExtensionRequest", ("containing_type", 1, _TEXT, ""), ("extension_number", 2, _INT, ""))
    answered = _message(
        file, "ServerReflectionResponse", ("valid_host", 1, _TEXT, ""),
        ("original_request", 2, _MESSAGE, "ServerReflectionRequest"),
    )  # fmt: skip
    _one_of(file, answered, "message_response", _ONE_OF_ANSWERED)
    _message(file, "FileDescriptorResponse", ("file_descriptor_proto", 1, _BYTES, "*"))
    _message(file, "ExtensionNumberResponse", ("base_type_name", 1, _TEXT, ""), ("extension_number", 2, _INT, "*"))
    _message(file, "ListServiceResponse", ("service", 1, _MESSAGE, "*ServiceResponse"))
    _message(file, "ServiceResponse", ("name", 1, _TEXT, ""))
    _message(file, "ErrorResponse", ("error_code", 1, _INT, ""), ("error_message", 2, _TEXT, ""))
    file.service.add(name="ServerReflection").method.add(
        name="ServerReflectionInfo", client_streaming=True, server_streaming=True,
        input_type=f".{file.package}.ServerReflectionRequest", output_type=f".{file.package}.ServerReflectionResponse",
    )  # fmt: skip
    return file


_Field = tuple[str, int, "descriptor_pb2.FieldDescriptorProto.Type.ValueType", str]
"""Name, number, type, and the name of a message or enumeration, after a * where it is repeated."""


def _message(
    file: descriptor_pb2.FileDescriptorProto, name: str, *fields: _Field
) -> descriptor_pb2.DescriptorProto:  # fmt: skip
    message = file.message_type.add(name=name)
    for field in fields:
        _add(file, message, field)
    return message


def _one_of(
    file: descriptor_pb2.FileDescriptorProto, message: descriptor_pb2.DescriptorProto, name: str,
    fields: tuple[_Field, ...],
) -> None:  # fmt: skip
    message.oneof_decl.add(name=name)
    for field in fields:
        _add(file, message, field).oneof_index = 0


def _add(
    file: descriptor_pb2.FileDescriptorProto, message: descriptor_pb2.DescriptorProto, field: _Field
) -> descriptor_pb2.FieldDescriptorProto:
    name, number, kind, of = field
    label = _Type.LABEL_REPEATED if of.startswith("*") else _Type.LABEL_OPTIONAL
    added = message.field.add(name=name, number=number, type=kind, label=label)
    if of.lstrip("*"):
        added.type_name = f".{file.package}.{of.lstrip('*')}"
    return added


if __name__ == "__main__":
    TARGET.write_bytes(made())

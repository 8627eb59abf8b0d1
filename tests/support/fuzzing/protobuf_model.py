"""The requests of xDS for Google's own reader of protobuf: what ours has to see in the same bytes.

As `xds.encoding.messages` says it reads them: what need not be UTF-8 is `bytes` here; of a message
that stands twice the last one counts, so such fields are `repeated` here.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "bytes": _FIELD.TYPE_BYTES,
    "string": _FIELD.TYPE_STRING,
    "double": _FIELD.TYPE_DOUBLE,
    "int32": _FIELD.TYPE_INT32,
    "uint32": _FIELD.TYPE_UINT32,
    "bool": _FIELD.TYPE_BOOL,
}
# name: {number: (field, kind)}; "*" behind a kind is repeated, "?" before one is of the oneof
_MESSAGES = {
    "Version": {1: ("major", "uint32"), 2: ("minor", "uint32"), 3: ("patch", "uint32")},
    "Build": {1: ("version", "Version")},
    "Struct": {1: ("fields", "Entry*")},
    "Entry": {1: ("key", "bytes"), 2: ("value", "Value*")},
    "Value": {
        1: ("null", "?int32"),
        2: ("number", "?double"),
        3: ("text", "?bytes"),
        4: ("truth", "?bool"),
        5: ("struct", "?Struct"),
        6: ("list", "?bytes"),
    },
    "Node": {
        1: ("id", "string"),
        2: ("cluster", "string"),
        3: ("metadata", "Struct*"),
        4: ("locality", "Locality*"),
        6: ("agent", "bytes"),
        7: ("version", "?bytes"),
        8: ("build", "?Build"),
        10: ("features", "bytes*"),
    },
    "Locality": {1: ("region", "bytes"), 2: ("zone", "bytes"), 3: ("sub_zone", "bytes")},
    "Status": {1: ("code", "int32"), 2: ("message", "bytes")},
    "Named": {1: ("name", "bytes"), 2: ("version", "bytes")},
    "Delta": {
        1: ("node", "Node*"),
        2: ("type_url", "string"),
        3: ("subscribe", "bytes*"),
        4: ("unsubscribe", "bytes*"),
        5: ("versions", "Named*"),
        6: ("nonce", "bytes"),
        7: ("error", "Status*"),
    },
    "Sotw": {
        1: ("version", "bytes"),
        2: ("node", "Node*"),
        3: ("names", "bytes*"),
        4: ("type_url", "string"),
        5: ("nonce", "bytes"),
        6: ("error", "Status*"),
    },
    "Text": {1: ("exact", "?string"), 6: ("ignore_case", "bool")},
    "Matcher": {1: ("node_id", "Text*")},
    "StatusRequest": {1: ("matchers", "Matcher*")},
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="model.proto", package="model", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in fields.items():
            _add(message, number, field, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"model.{name}"))
        for name in _MESSAGES
    }


def _add(message: Any, number: int, field: str, kind: str) -> None:
    word = kind.strip("?*")
    label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
    added = message.field.add(name=field, number=number, label=label)
    if word in _KINDS:
        added.type = _KINDS[word]
    else:
        added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".model.{word}"
    if kind.startswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="kind")
        added.oneof_index = 0


_CLASSES = _classes()


def parsed(name: str, data: bytes) -> Any:
    """The message of that name; None where Google's reader refuses the bytes."""
    from google.protobuf.message import DecodeError

    message = _CLASSES[name]()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message

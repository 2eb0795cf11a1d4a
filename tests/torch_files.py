"""Writes what torch writes, without torch: state dicts, and files that pretend to be some."""

import collections
import io
import pickle
import struct
import zipfile


class Global:
    """Pickles as the name of a function or class that is not here."""

    def __init__(self, module, name):
        self.name = f"c{module}\n{name}\n".encode()


class Call:
    """Pickles as a call of a `Global`, with a state to set on its result."""

    def __init__(self, function, arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state


class Record:
    """Pickles as a persistent record, which is how torch writes storages."""

    def __init__(self, *fields):
        self.fields = fields


class Writer(pickle._Pickler):  # type: ignore[name-defined]
    """Writes what torch writes."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(obj.name)
        elif isinstance(obj, Record):
            self.save(obj.fields)
            self.write(pickle.BINPERSID)
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        else:
            super().save(obj, save_persistent_id)


def pickled(thing):
    out = io.BytesIO()
    Writer(out, 2).dump(thing)
    return out.getvalue()


def tensor(kind, key, count, offset, shape, strides, function="_rebuild_tensor_v2", extra=()):
    storage = Record("storage", Global("torch", kind), key, "cpu", count, *extra)
    hooks = () if function == "_rebuild_tensor" else (False, collections.OrderedDict())
    return Call(Global("torch._utils", function), (storage, offset, shape, strides, *hooks))


def parameter(data):
    return Call(
        Global("torch._utils", "_rebuild_parameter"), (data, True, collections.OrderedDict())
    )


def zipped(path, thing, storages, byteorder=b"little", packing=zipfile.ZIP_STORED):
    """The format of torch 1.6 and later, at a path or in a file that is open."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("name/data.pkl", thing if isinstance(thing, bytes) else pickled(thing))
        archive.writestr("name/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"name/data/{key}", data)
    return path


def legacy(thing, storages):
    """The format before it, as bytes. `storages` holds (number of items, bytes) by key."""
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled({"little_endian": True})]
    parts += [pickled(thing), pickled(list(storages))]
    parts += [struct.pack("<q", count) + data for count, data in storages.values()]
    return b"".join(parts)

"""Reads the zip archives of PyTorch 1.6 and later: `NAME/data.pkl`, and a member a storage.

The archive's own table is read here and not with `zipfile`, which would copy members and build a
kilobyte of objects for each before anything could be refused. Members are views of the file:
PyTorch stores them uncompressed.
Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import re
import struct
import zlib
from dataclasses import dataclass, field

from jattr.errors import CheckpointError
from jattr.folders.litter import is_litter

from .pickle_machine import Opaque, PickleMachine
from .pickle_operations import run_pickle
from .reading_limits import MAX_PICKLE_BYTES, Budget, Tree, shown
from .torch_records import Storage, StorageType, elements_of

MEMBER_PRICE = 600  # bytes of memory for one member's record
DAMAGED_ZIP = "is a damaged zip archive: {}; fetch the file again"
ENCRYPTED, STRONG, MASKED = 1 << 0, 1 << 6, 1 << 13  # flag bits


@dataclass(frozen=True)
class Member:
    """One file of the archive."""

    content: memoryview
    crc: int
    start: int  # of its local header in the archive
    end: int  # of its content
    fault: str = ""  # why it cannot be read, if it is ever asked for


@dataclass
class ZipStorages:
    """Resolves the persistent ids of an archive's pickle.

    Each storage is read and checked once.
    """

    members: dict[str, Member]
    folder: str
    budget: Budget
    big_endian: bool
    storages: dict[tuple[str, str], Storage] = field(default_factory=dict)

    def __call__(self, persistent_id: Tree) -> Storage | Opaque:
        """Return the storage of ("storage", type, key, location, number of elements).

        The location is ignored. A storage of a type that is not read is opaque.
        """
        reference = check_persistent_id(persistent_id)
        if isinstance(reference, Opaque):
            return reference
        kind, key, count = reference
        if (key, kind.name) not in self.storages:
            raw = checked_content(self.members, f"{self.folder}/data/{key}")
            elements = elements_of(raw, kind.dtype, self.budget, big_endian=self.big_endian)
            self.storages[key, kind.name] = Storage(elements, self.budget)
        storage = self.storages[key, kind.name]
        if storage.elements is None or count > storage.elements.size:
            raise CheckpointError(
                f"declares {count} elements for storage {shown(key)}, which is smaller: it is"
                " damaged"
            )
        return storage


def read_zip(data: memoryview, names: dict[str, Tree], budget: Budget) -> Tree:
    """Return the tree that the PyTorch archive `data` holds.

    Raises:
      CheckpointError: not such an archive, or one that is damaged, compressed, encrypted or
        hostile.
    """
    members = list_members(data, budget)
    if what := _other_archive(members):
        raise CheckpointError(f"is {what}")
    folder = _folder_of(members)
    if f"{folder}/constants.pkl" in members or any(
        name.startswith(f"{folder}/code/") for name in members
    ):
        raise CheckpointError(
            "is a TorchScript archive (a program with its weights); open it with torch.jit.load in"
            " PyTorch and save torch.save(model.state_dict(), PATH)"
        )
    order = (
        bytes(checked_content(members, f"{folder}/byteorder"))
        if f"{folder}/byteorder" in members
        else b"little"
    )
    if order not in (b"little", b"big"):
        raise CheckpointError(f"states the byte order {shown(order)}; legal are little and big")
    program = checked_content(members, f"{folder}/data.pkl")
    if len(program) > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"has a data.pkl of {len(program)} bytes; at most {MAX_PICKLE_BYTES} are read"
        )
    storages = ZipStorages(members, folder, budget, order == b"big")
    machine = PickleMachine(program, names, budget, storages)
    tree = run_pickle(machine)
    if machine.position != len(program):
        raise CheckpointError(
            f"has {len(program) - machine.position} bytes after the pickle in its data.pkl"
        )
    return tree


def check_persistent_id(value: Tree) -> tuple[StorageType, str, int] | Opaque:
    """Return type, key and number of elements of a persistent id of torch.save's.

    Of a class, which PyTorch before 1.5 stored with its program text, and of a storage of a type
    that is not read: what stands for it.
    """
    if type(value) is tuple and len(value) == 4 and value[0] == "module":
        if isinstance(value[1], Opaque):
            return value[1]
        raise CheckpointError(
            "holds a whole model; save torch.save(model.state_dict(), PATH) in its own program"
        )
    if type(value) is not tuple or len(value) not in (5, 6) or value[0] != "storage":
        raise CheckpointError(f"refers to {shown(value)} instead of a storage: the file is damaged")
    _, kind, key, location, count = value[:5]
    if type(key) is not str or type(location) is not str or type(count) is not int or count < 0:
        raise CheckpointError(
            f"has a storage {shown(key)} of {shown(count)} elements: the file is damaged"
        )
    if isinstance(kind, Opaque):
        return kind
    if not isinstance(kind, StorageType):
        raise CheckpointError(f"has a storage of type {shown(kind)}, which is not read")
    return kind, key, count


def checked_content(members: dict[str, Member], name: str) -> memoryview:
    """Return a member's bytes after comparing them with its checksum."""
    if name not in members:
        raise CheckpointError(
            f"lacks its member {shown(name)}: the file is damaged; fetch it again"
        )
    member = members[name]
    if member.fault:
        raise CheckpointError(f"has a member {shown(name)} that is {member.fault}")
    if zlib.crc32(member.content) != member.crc:
        raise CheckpointError(
            f"has a member {shown(name)} that does not match its checksum: the file is damaged, or"
            " was saved with torch.serialization.set_crc32_options(False); fetch or save it again"
        )
    return member.content


def list_members(data: memoryview, budget: Budget) -> dict[str, Member]:
    """Return the members by name.

    Every header is compared with the table, and no two members may overlap.
    """
    count, position, end = _find_table(data)
    budget.spend(MEMBER_PRICE * count)
    members: dict[str, Member] = {}
    for _ in range(count):
        name, member, position = _next_member(data, position, end)
        if name in members:
            raise CheckpointError(DAMAGED_ZIP.format(f"two members are called {shown(name)}"))
        members[name] = member
    reached = 0
    for member in sorted(members.values(), key=lambda member: member.start):
        if member.start < reached:
            raise CheckpointError(DAMAGED_ZIP.format("members overlap"))
        reached = member.end
    return members


def _find_table(data: memoryview) -> tuple[int, int, int]:
    """Return the number of members, and where the table of members starts and ends."""
    tail = bytes(data[-(22 + 0xFFFF) :])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise CheckpointError(DAMAGED_ZIP.format("it has no table of members, so it is cut short"))
    at += len(data) - len(tail)
    disks, count, size, start = struct.unpack("<I2xHII2x", data[at + 4 : at + 22])
    if at >= 20 and data[at - 20 : at - 16] == b"PK\x06\x07":
        (record,) = struct.unpack("<Q", data[at - 12 : at - 4])
        if record + 56 > at or data[record : record + 4] != b"PK\x06\x06":
            raise CheckpointError(DAMAGED_ZIP.format("its 64-bit table is not where it should be"))
        disks, count, size, start = struct.unpack("<Q8xQQQ", data[record + 16 : record + 56])
    if disks or start + size > at or 46 * count > size:
        raise CheckpointError(DAMAGED_ZIP.format("its table of members does not fit the file"))
    return count, start, start + size


def _next_member(data: memoryview, at: int, table_end: int) -> tuple[str, Member, int]:
    if at + 46 > table_end or data[at : at + 4] != b"PK\x01\x02":
        raise CheckpointError(DAMAGED_ZIP.format("its table of members is broken"))
    flags, method, crc, packed, size, name_size, extra_size, note_size, start = struct.unpack(
        "<8xHH4xIIIHHH8xI", data[at : at + 46]
    )
    extra_at, after = at + 46 + name_size, at + 46 + name_size + extra_size + note_size
    if after > table_end:
        raise CheckpointError(DAMAGED_ZIP.format("its table of members is broken"))
    raw_name = bytes(data[at + 46 : extra_at])
    size, packed, start = _wide_fields(data[extra_at : extra_at + extra_size], size, packed, start)
    name, fault = _decoded(raw_name), ""
    if flags & (ENCRYPTED | STRONG | MASKED):
        fault = "encrypted; save it again without encryption"
    elif method != 0 or packed != size:
        fault = (
            "compressed, and torch.save stores members as they are: unpack it and pack the folder"
            " again without compression, zip -0 -r NAME.pt NAME"
        )
    content_at = _content_start(data, start, raw_name)
    end = content_at + packed
    if end > len(data):
        raise CheckpointError(DAMAGED_ZIP.format(f"member {shown(name)} reaches past the end"))
    return name, Member(data[content_at:end], crc, start, end, fault), after


def _content_start(data: memoryview, start: int, raw_name: bytes) -> int:
    """Return where a member's content starts, after comparing its local header with the table."""
    header = bytes(data[start : start + 30])
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise CheckpointError(DAMAGED_ZIP.format("a member is not where its table says"))
    name_size, extra_size = struct.unpack("<26xHH", header)
    if bytes(data[start + 30 : start + 30 + name_size]) != raw_name:
        raise CheckpointError(DAMAGED_ZIP.format("a member's header and its table disagree"))
    return start + 30 + name_size + extra_size


def _wide_fields(extra: memoryview, *fields: int) -> list[int]:
    """Return size, packed size and start of a member.

    Those that do not fit 32 bits come from the zip64 record.
    """
    wide = bytes(extra)
    while len(wide) >= 4:
        kind, length = struct.unpack("<HH", wide[:4])
        if kind == 1:
            values = iter(struct.unpack(f"<{length // 8}Q", wide[4 : 4 + length // 8 * 8]))
            return [next(values, value) if value == 0xFFFFFFFF else value for value in fields]
        wide = wide[4 + length :]
    return list(fields)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(
            DAMAGED_ZIP.format(f"a member is called {shown(raw)}, which is not UTF-8")
        ) from None


def _other_archive(members: dict[str, Member]) -> str:
    """Return what a zip archive that is not PyTorch's own is, and what to do; "" for PyTorch's."""
    names = [name for name in members if not _is_litter(name)]
    if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        return ""
    for pattern, what in OTHER_ARCHIVES.items():
        if any(re.search(pattern, name) for name in names):
            return what
    inner = [name for name in names if name.lower().endswith(WEIGHTS_SUFFIXES)]
    if inner:
        return (
            f"a zip archive around {shown(inner[0])}: unpack it and give"
            f" {'that file' if len(inner) == 1 else 'the weights file, or their folder'}"
        )
    if not names:
        return "a zip archive without any file"
    return f"a zip archive of {len(names)} files, such as {shown(names[0])}, and holds no weights"


def _is_litter(name: str) -> bool:
    return name.endswith("/") or any(is_litter(part) for part in name.split("/"))


WEIGHTS_SUFFIXES = (".pt", ".pth", ".pkl", ".ckpt", ".bin", ".safetensors")
OTHER_ARCHIVES = {  # pattern of a member's name -> what such an archive is, and what to do
    r"\.npy$": "a NumPy archive (.npz) of arrays without a network's names: write them with"
    " safetensors.numpy.save_file by the names of the PyTorch state dict",
    r"^data\.pkl$": "the inside of a PyTorch file, packed without its folder: unpack it into a"
    " folder, and pack that folder without compression: zip -0 -r NAME.pt NAME",
    r"^[^/]+/.+/data\.pkl$": "a zip archive around an unpacked PyTorch file: unpack it, go to where"
    " the folder with data.pkl lies, and pack that without compression: zip -0 -r NAME.pt NAME",
    r"(^|/)(serialized_exported_program\.(json|pt)|archive_format|models/[^/]+\.json)$": "a program"
    " of torch.export (.pt2) with its weights; open it with torch.export.load in PyTorch and save"
    " torch.save(program.state_dict, PATH)",
    r"(^|/)card\.json$": "a zip archive around a folder that `jattr convert` wrote: unpack it and"
    " use the folder",
    r"\.weights\.h5$": "a Keras archive, which is not read; save the weights of a PyTorch model",
    r"^(torchelastic|MAR-INF)/": "a model archive of TorchServe: unpack it and give the weights"
    " file in it",
}


def _folder_of(members: dict[str, Member]) -> str:
    folders = [
        name.split("/")[0]
        for name in members
        if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(folders) != 1:
        raise CheckpointError(
            f"is a zip archive with {len(folders)} members FOLDER/data.pkl; one written by"
            " torch.save has exactly one"
        )
    return folders[0]

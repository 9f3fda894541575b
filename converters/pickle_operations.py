"""The pickle instructions that `torch.save` and `pickle.dump` write for plain data.

That is, in protocols 2 to 5.

An instruction that is not in `HANDLERS` is refused: object construction of protocols 0 and 1 (INST,
OBJ; NEWOBJ makes only what a table entry stands for), the extension registry (EXT1, EXT2, EXT4),
out-of-band buffers, and the text forms of protocols 0 and 1.
"""

import pickletools
from collections.abc import Callable
from functools import partial

from jattr.errors import CheckpointError

from .pickle_machine import ENTRY_PRICE, Opaque, PickleMachine, is_plain_key
from .reading_limits import (
    LONG_BYTES,
    MAX_INT_BYTES,
    MAX_NAME_BYTES,
    MAX_OPERATIONS,
    MAX_TEXT_BYTES,
    Tree,
    shown,
)


def run_pickle(machine: PickleMachine) -> Tree:
    """Return the value of the pickle at `machine.position`, which moves behind it.

    Raises:
      CheckpointError: the pickle is damaged, names or does something that is not listed, or
        outgrows its budget.
    """
    for _ in range(MAX_OPERATIONS):
        code = machine.take(1)[0]
        if code == STOP:
            return _result(machine)
        if code not in HANDLERS:
            raise CheckpointError(
                f"uses the pickle instruction {_name_of(code)}, which no weights file needs"
            )
        handler, price = HANDLERS[code]
        machine.budget.spend(price)
        handler(machine)
    raise CheckpointError(
        f"has a pickle of over {MAX_OPERATIONS} instructions; no weights file needs that many"
    )


def _result(machine: PickleMachine) -> Tree:
    if len(machine.stack) != 1 or machine.marks:
        raise CheckpointError(
            f"has a damaged pickle: it ends with {len(machine.stack)} values instead of one"
        )
    return machine.stack.pop()


def _name_of(code: int) -> str:
    return next(
        (opcode.name for opcode in pickletools.opcodes if opcode.code == chr(code)), f"0x{code:02x}"
    )


def _push_line_name(machine: PickleMachine) -> None:
    """GLOBAL: two lines of text, module and attribute."""
    window = bytes(machine.data[machine.position : machine.position + MAX_NAME_BYTES])
    lines = window.split(b"\n", 2)
    if len(lines) < 3:
        raise CheckpointError(
            f"has a damaged pickle: a name without end within {MAX_NAME_BYTES} bytes"
        )
    machine.position += len(lines[0]) + len(lines[1]) + 2
    machine.name(_text(lines[0]), _text(lines[1]))


def _text(raw: bytes | memoryview) -> str:
    if len(raw) > MAX_TEXT_BYTES:
        raise CheckpointError(
            f"has a text of {len(raw)} bytes in its pickle; at most {MAX_TEXT_BYTES} are read"
        )
    try:
        return str(raw, "utf-8")  # strict: a lone surrogate could not be printed later
    except UnicodeDecodeError:
        raise CheckpointError(
            f"has a damaged pickle: text that is not UTF-8, {shown(bytes(raw[:20]))}"
        ) from None


def _integer(raw: memoryview) -> int | Opaque:
    if len(raw) > MAX_INT_BYTES:  # long ones take for ever to print
        return Opaque(f"integer of {len(raw)} bytes")
    return int.from_bytes(raw, "little", signed=True)


def _push_counted(machine: PickleMachine, form: str, build: Callable[[memoryview], Tree]) -> None:
    raw = machine.take(machine.number(form))
    machine.budget.spend(len(raw))
    value = build(raw)
    # one wide letter makes a whole text four times larger
    machine.budget.spend(max(0, value.__sizeof__() - len(raw)))
    machine.stack.append(value)


def _push_bytes(machine: PickleMachine, form: str) -> None:
    """Push bytes; long ones as a view of the file, which costs nothing.

    NVlabs' pickles store every tensor that way.
    """
    count = machine.number(form)
    raw = machine.take(count)
    if count < LONG_BYTES:
        machine.budget.spend(count)
    machine.stack.append(bytes(raw) if count < LONG_BYTES else raw.toreadonly())


def _push_value(machine: PickleMachine, value: object) -> None:
    machine.stack.append(value)


def _push_empty(machine: PickleMachine, kind: Callable[[], Tree]) -> None:
    machine.stack.append(kind())


def _push_number(machine: PickleMachine, form: str) -> None:
    machine.stack.append(machine.number(form))


def _push_tuple(machine: PickleMachine, count: int) -> None:
    items = [machine.pop() for _ in range(count)]
    machine.stack.append(tuple(reversed(items)))


def _push_frozen_set(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    machine.budget.spend(ENTRY_PRICE * len(items))
    machine.stack.append(frozenset(filter(is_plain_key, items)))


def _check_protocol(machine: PickleMachine) -> None:
    protocol = machine.number("<B")
    if protocol > 5:
        raise CheckpointError(f"has a pickle of protocol {protocol}; protocols 2 to 5 are read")


def _check_frame(machine: PickleMachine) -> None:
    """FRAME: a hint for buffering; only its promise is checked."""
    length = machine.number("<Q")
    if length > len(machine.data) - machine.position:
        raise CheckpointError(
            "ends inside a pickle: the file is cut short or damaged; fetch it again"
        )


STOP = ord(".")
# Prices are bytes of memory, rounded up: what CPython allocates for the value, its entry on the
# stack or in the memo, and its share of the walk over the finished tree. They keep reading within
# the stated multiple of the file.
VALUE_PRICE, MEMO_PRICE, BOX_PRICE, CALL_PRICE = 48, 120, 360, 720

Handler = Callable[[PickleMachine], Tree]
HANDLERS: dict[int, tuple[Handler, int]] = {}


def _operation(code: bytes, handler: Handler, price: int = VALUE_PRICE) -> None:
    HANDLERS[code[0]] = (handler, price)


_operation(b"\x80", _check_protocol)
_operation(b"\x95", _check_frame)
_operation(b"(", lambda m: m.marks.append(len(m.stack)))
_operation(b"0", lambda m: m.pop())
_operation(b"1", lambda m: m.pop_to_mark())
for _code, _value in {b"N": None, b"\x88": True, b"\x89": False, b")": ()}.items():
    _operation(_code, partial(_push_value, value=_value))
for _code, _kind in {b"}": dict, b"]": list, b"\x8f": set}.items():
    _operation(_code, partial(_push_empty, kind=_kind), BOX_PRICE)
for _code, _form in {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}.items():
    _operation(_code, partial(_push_number, form=_form))
for _code, _form in {b"\x8c": "<B", b"X": "<I", b"\x8d": "<Q", b"U": "<B", b"T": "<I"}.items():
    _operation(_code, partial(_push_counted, form=_form, build=_text), 2 * VALUE_PRICE)
for _code, _form in {b"C": "<B", b"B": "<I", b"\x8e": "<Q", b"\x96": "<Q"}.items():
    _operation(_code, partial(_push_bytes, form=_form), 2 * VALUE_PRICE)
for _code, _form in {b"\x8a": "<B", b"\x8b": "<I"}.items():
    _operation(_code, partial(_push_counted, form=_form, build=_integer))
for _code, _count in {b"\x85": 1, b"\x86": 2, b"\x87": 3}.items():
    _operation(_code, partial(_push_tuple, count=_count), BOX_PRICE)
_operation(b"t", lambda m: m.stack.append(tuple(m.pop_to_mark())), BOX_PRICE)
_operation(b"a", lambda m: m.fill_list([m.pop()]))
_operation(b"e", lambda m: m.fill_list(m.pop_to_mark()))
_operation(b"s", lambda m: m.fill_dict([m.pop(), m.pop()][::-1]))
_operation(b"u", lambda m: m.fill_dict(m.pop_to_mark()))
_operation(b"\x90", lambda m: m.fill_set(m.pop_to_mark()))
_operation(b"\x91", _push_frozen_set, BOX_PRICE)
_operation(b"h", lambda m: m.recall(m.number("<B")))
_operation(b"j", lambda m: m.recall(m.number("<I")))
_operation(b"q", lambda m: m.remember(m.number("<B")), MEMO_PRICE)
_operation(b"r", lambda m: m.remember(m.number("<I")), MEMO_PRICE)
_operation(b"\x94", lambda m: m.remember(len(m.memo)), MEMO_PRICE)
_operation(b"c", _push_line_name)
_operation(b"\x93", lambda m: m.name(*[m.pop(), m.pop()][::-1]))
_operation(b"R", lambda m: m.call(), CALL_PRICE)
_operation(b"\x81", lambda m: m.new_object(), BOX_PRICE)
_operation(b"\x92", lambda m: m.new_object_by_keywords(), BOX_PRICE)
_operation(b"b", lambda m: m.finish())
_operation(b"Q", lambda m: m.persistent(), CALL_PRICE)

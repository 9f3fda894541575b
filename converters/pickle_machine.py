"""The state of a pickle being read as data: a stack, a memo and a table of names.

Nothing that the file names is run.

A pickle is a program for a stack machine. Python's own machine imports and calls whatever the
program names; this one looks every name up in a table that its caller gives, and pays for
everything it builds from a budget. A name that the table does not have stands for an `Opaque`: a
value of which only that name is kept, whatever the program does to it. The machine never recurses,
so no nesting in the file can exhaust the C stack. `pickle_operations` holds the instructions.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jattr.errors import CheckpointError

from .reading_limits import MAX_NAME_BYTES, Budget, Tree, shown

NAME_PRICE = 300  # bytes: an `Opaque`, its text's head and its entry in the table
ENTRY_PRICE = 120  # bytes: what CPython needs for one more entry of a dict or set


@dataclass(frozen=True)
class Call:
    """A table entry that the file may call.

    `build` gets the file's arguments and returns a plain value.
    """

    build: Callable[..., Tree]


@dataclass(frozen=True)
class NewObject:
    """A table entry for a class of which the file makes empty objects (NEWOBJ).

    `build` returns one.
    """

    build: Callable[[], Tree]


@dataclass(frozen=True)
class Opaque:
    """A value of which nothing is read but the name of its class or function, as `os.system`.

    Nothing is imported, made or called for it. A call, a state, items: all leave it as it is.
    """

    name: str


class Unfinished:
    """A value that the pickle builds in two steps; `finish(state)` returns the final one."""

    slot: int | None = None  # where the memo holds it

    def finish(self, state: Tree) -> Tree:
        """Return the finished value for the `state` that the pickle sets."""
        raise NotImplementedError


@dataclass
class PickleMachine:
    """One run over one pickle: what `pickle_operations.run_pickle` works on.

    `names` maps dotted names to what they stand for: a `Call`, or any other value, which is used as
    it is. Any other name stands for an `Opaque`. `storage_of` answers a persistent id, the way
    PyTorch's files refer to the bytes of a tensor.
    """

    data: memoryview  # bytes, one-dimensional
    names: Mapping[str, Tree]
    budget: Budget
    storage_of: Callable[[Tree], Tree] | None = None
    position: int = 0
    stack: list[Tree] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)  # heights of the stack where a MARK was set
    memo: dict[int, Tree] = field(default_factory=dict)
    opaque: dict[str, Opaque] = field(default_factory=dict)  # one for each name

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes; a pickle that ends before them is an error."""
        end = self.position + count
        if end > len(self.data):
            raise CheckpointError(
                "ends inside a pickle: the file is cut short or damaged; fetch it again"
            )
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, form: str) -> Tree:
        """Return the next number, of the `struct` format `form`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def pop(self) -> Tree:
        """Remove and return the top of the stack, not reaching below the last MARK."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise CheckpointError("has a damaged pickle: it takes a value where there is none")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Tree]:
        """Remove and return everything above the last MARK, and the MARK."""
        if not self.marks:
            raise CheckpointError("has a damaged pickle: it goes back to a mark that was never set")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, *kinds: type) -> Tree:
        """Return the top of the stack, which must be exactly of one of `kinds`."""
        value = self.pop()
        if type(value) not in kinds:
            raise CheckpointError(
                f"has a damaged pickle: it fills {shown(value)} like a {kinds[0].__name__}"
            )
        self.stack.append(value)
        return value

    def remember(self, slot: int) -> None:
        """Keep the top of the stack in the memo under the number `slot`."""
        value = self.pop()
        self.stack.append(value)
        self.memo[slot] = value
        if isinstance(value, Unfinished):
            value.slot = slot

    def recall(self, slot: int) -> None:
        """Push what the memo holds under the number `slot`."""
        if slot not in self.memo:
            raise CheckpointError(
                f"has a damaged pickle: it recalls value {slot}, which it never kept"
            )
        self.stack.append(self.memo[slot])

    def name(self, module: object, attribute: object) -> None:
        """Push what the table holds for `module`.`attribute`; nothing is imported."""
        if type(module) is not str or type(attribute) is not str:
            raise CheckpointError(
                f"has a damaged or hostile pickle: it names {shown(module)}.{shown(attribute)}"
            )
        if len(module) + len(attribute) > MAX_NAME_BYTES:
            raise CheckpointError(
                f"has a name of {len(module) + len(attribute)} characters in its pickle; at most"
                f" {MAX_NAME_BYTES} are read"
            )
        dotted = f"{module}.{attribute}"
        # an attribute with a dot reaches into something: it is none of the table's names
        listed = "." not in attribute and dotted in self.names
        self.stack.append(self.names[dotted] if listed else self._opaque_named(dotted))

    def _opaque_named(self, dotted: str) -> Opaque:
        if dotted not in self.opaque:
            self.budget.spend(NAME_PRICE + 4 * len(dotted))
            self.opaque[dotted] = Opaque(dotted)
        return self.opaque[dotted]

    def call(self) -> None:
        """Call the table entry below the top of the stack with the arguments on top."""
        arguments, callee = self.pop(), self.pop()
        if isinstance(callee, Opaque):
            self.stack.append(callee)
            return
        if not isinstance(callee, Call) or type(arguments) is not tuple:
            raise CheckpointError(f"has a damaged or hostile pickle: it calls {shown(callee)}")
        try:
            value = callee.build(*arguments)
        except (CheckpointError, TypeError, ValueError, OverflowError) as error:
            # what is made of something that was not read is not read either
            unread = next((item for item in arguments if isinstance(item, Opaque)), None)
            if unread is None:
                raise _call_error(error) from error
            value = unread
        self.budget.spend_for(value)
        self.stack.append(value)

    def new_object(self) -> None:
        """Make an object of the class below the top of the stack, without arguments."""
        arguments, kind = self.pop(), self.pop()
        if isinstance(kind, Opaque):
            self.stack.append(kind)
            return
        if not isinstance(kind, NewObject) or arguments != ():
            raise CheckpointError(
                f"uses the pickle instruction NEWOBJ on {shown(kind)}, which no weights file needs"
            )
        self.stack.append(kind.build())

    def new_object_by_keywords(self) -> None:
        """Replace a class, its arguments and keywords by the object: an `Opaque` only."""
        self.pop()
        self.pop()
        kind = self.pop()
        if not isinstance(kind, Opaque):
            raise CheckpointError(
                f"uses the pickle instruction NEWOBJ_EX on {shown(kind)}, which no weights file"
                " needs"
            )
        self.stack.append(kind)

    def finish(self) -> None:
        """Set the state on top of the stack on the value below it."""
        state, target = self.pop(), self.pop()
        if isinstance(target, Unfinished):
            slot, target = target.slot, target.finish(state)
            if slot is not None:
                self.memo[slot] = target
        elif isinstance(target, Opaque):
            pass  # its state is nothing, too
        elif type(target) is not OrderedDict or type(state) is not dict:
            raise CheckpointError(
                f"has a damaged or hostile pickle: it sets a state on {shown(target)}"
            )
        # An OrderedDict's state is the `_metadata` of a PyTorch state dict (layer versions): not
        # kept.
        self.stack.append(target)

    def persistent(self) -> None:
        """Replace the persistent id on top of the stack by what it stands for."""
        if self.storage_of is None:
            raise CheckpointError(
                "refers to data outside of the pickle, which this kind of file does not have"
            )
        self.stack.append(self.storage_of(self.pop()))

    def fill_list(self, items: list[Tree]) -> None:
        """Add items to the list on top of the stack."""
        target = self.top(list, Opaque)
        if type(target) is list:
            target.extend(items)

    def fill_dict(self, items: list[Tree]) -> None:
        """Add keys and values, one after the other, to the dict on top of the stack.

        Entries whose key is no plain one are left out: nothing could ask for them.
        """
        target = self.top(dict, OrderedDict, Opaque)
        if len(items) % 2:
            raise CheckpointError("has a damaged pickle: a dict with a key that has no value")
        self.budget.spend(ENTRY_PRICE * len(items) // 2)
        if isinstance(target, Opaque):
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            if is_plain_key(key):
                target[key] = value

    def fill_set(self, items: list[Tree]) -> None:
        """Add the plain ones of some items to the set on top of the stack."""
        target = self.top(set, Opaque)
        self.budget.spend(ENTRY_PRICE * len(items))
        if type(target) is set:
            target.update(filter(is_plain_key, items))


def _call_error(error: Exception) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    return CheckpointError(f"has a damaged pickle: arguments that do not fit their call ({error})")


def is_plain_key(key: object) -> bool:
    """Return whether `key` may be a dict key or set item: a scalar.

    Hashing nested tuples can take for ever.
    """
    return type(key) in (str, bytes, bool, float, type(None)) or (
        type(key) is int and -(2**63) <= key < 2**64
    )


def refusal(dotted: str) -> CheckpointError:
    """Return the error for a file whose weights themselves need a name that is not read."""
    name = shown(dotted)[1:-1]
    advice = (
        "save the weights alone, torch.save(model.state_dict(), PATH), in the program that made it"
    )
    if dotted.startswith(TENSORFLOW_PACKAGES):
        return CheckpointError(
            f"is a TensorFlow pickle of NVlabs ({name}): convert it with legacy.py of NVlabs'"
            " stylegan2-ada-pytorch or stylegan3, python legacy.py --source=OLD.pkl"
            " --dest=NEW.pkl, and give NEW.pkl"
        )
    if dotted.startswith(("torch.nn.", "__main__.", "torchvision.")):
        return CheckpointError(
            f"holds a whole model ({name}), which only its own program can load; {advice}"
        )
    if dotted.startswith("torch."):
        return CheckpointError(
            f"uses {name}; read are dense tensors of floats, bfloat16, integers and booleans:"
            f" {advice}"
        )
    return CheckpointError(
        f"has no tensors that are read, and names {name}; nothing was run. If this is a model,"
        f" {advice}"
    )


# of NVlabs' ProGAN, StyleGAN and StyleGAN2 for TensorFlow, whose pickles hold whole networks
TENSORFLOW_PACKAGES = ("dnnlib.tflib.", "tfutil.", "tensorflow.")

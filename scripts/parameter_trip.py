"""Follow one parameter of a function through the calls that pass it on.

Nothing of the tree is run; everything is read from its syntax.

`stays`, `modules` and `climbs` describe the trip of one parameter
through the calls that pass it on; by default `images` of `attribute`. An expression *carries* the
parameter if it is

  * the parameter's name, or a name that was given a carrying value: by assignment, unpacking, a
    loop, `with`, or as the argument of a call that is followed;
  * a part of one that carries (attribute, item, slice, element in a loop);
  * a tuple, list, set, dict, comprehension or conditional with a carrying part;
  * an object of a class of the tree that was built from one that carries. Of such an object, only
    those fields carry that were given a carrying value so far on the trip;
  * the result of a followed call that returns or yields one that carries;
  * the same data in another form: the result of one of the functions in `FORMS`, of a carrying
    argument or as a carrying value's method.

Arithmetic, comparisons and other calls out of the tree give new values, which do not carry.

A call in a followed function is followed into its callee, if that is a function, method or
`__init__` of the tree and an argument or the object of the method carries. (A class without
`__init__` or `__post_init__` is built, not entered; reading a property follows its body, but is no
call.) The callee of a method is known if the object's class is: from an annotation, from the call
that built it, from `self`. If none tells, it is the only method of the tree with that name; of
several nothing is followed, and the call counts as `open`. A function of the tree that is handed to
one outside with a carrying value, as to `map`, is called with it. A function within another is
followed where it is defined, for what it takes from around it.

The trip lists the functions so entered, each where it is entered first, depth first in the order
in which the code is written: arguments before their call, every branch, loops once. (A function is
followed once for each set of its parameters that carry, so that nothing behind it is missed.)
`functions` is their number. A *stay* is a longest run of consecutive ones in one module; the first
is the module in which the trip starts. `modules` counts the modules stayed in. A *climb* is a stay
in a package of a higher level than that of the stay before: to come back to a caller is no stay,
but if the caller then calls what stands above where the trip has been, that is a climb.
"""

import ast
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from architecture import (
    House,
    package_levels,
    package_of,
)

# Functions and methods outside the tree whose result is their argument in another form.
FORMS = {
    *("asarray", "array", "ascontiguousarray", "atleast_1d", "device_put", "device_get"),
    *("astype", "reshape", "ravel", "flatten", "squeeze", "transpose", "broadcast_to"),
    *("expand_dims", "stack", "concatenate", "repeat", "tile", "take", "pad", "view", "copy"),
    *("list", "tuple", "set", "frozenset", "dict", "sorted", "reversed", "iter", "next"),
    *("zip", "enumerate", "fromkeys", "items", "values", "keys", "get", "pop", "replace"),
    *("cast", "deepcopy", "chain", "batched", "islice", "partial", "stop_gradient"),
}

# Methods of containers that put their argument into the container.
ADDERS = {"append", "extend", "add", "insert", "update", "setdefault", "put"}


@dataclass(frozen=True)
class Value:
    """What is known of an expression."""

    carries: bool = False
    built: bool = False  # carries as an object whose fields tell which part of it does
    classes: frozenset[str] = frozenset()  # of the tree, which it or its elements may be
    parts: tuple["Value", ...] = ()  # of a tuple, or of the tuples that it consists of

    def or_else(self, other: "Value") -> "Value":
        """Return what is known of an expression that has one of two values."""
        carrying = [value for value in (self, other) if value.carries]
        return Value(
            carries=bool(carrying),
            built=bool(carrying) and all(value.built for value in carrying),
            classes=self.classes | other.classes,
            parts=self.parts if len(self.parts) == len(other.parts) else (),
        )


NOTHING = Value()


@dataclass(frozen=True)
class Function:
    """A function of the tree: its module, its name within it, and its class if it is a method."""

    module: str
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    owner: str | None = None

    def is_(self, *decorators: str) -> bool:
        """Return whether one of these decorates it."""
        names = {last_name(decorator) for decorator in self.node.decorator_list}
        return not names.isdisjoint(decorators)


@dataclass
class Class:
    """A class of the tree, and which of its fields carry so far."""

    module: str
    name: str
    node: ast.ClassDef
    methods: dict[str, Function] = field(default_factory=dict)
    annotations: dict[str, ast.expr] = field(default_factory=dict)  # of fields, in their order
    bases: list[str] = field(default_factory=list)
    carrying: set[str] = field(default_factory=set)


Target: TypeAlias = Function | str  # a function; or a class or a module, by its dotted name


@dataclass
class Frame:
    """A function that is being followed."""

    module: str
    owner: str | None
    names: dict[str, Value]
    local: dict[str, Target]  # functions defined, and names imported, in it
    branches: int = 0  # how many branches and loops are open: there a name keeps what it had
    result: Value = NOTHING


class Trip:
    """The trip of one parameter through a tree; see the head of this file."""

    def __init__(self, house: House) -> None:
        self.modules = house.modules
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, Class] = {}
        self.names: dict[str, dict[str, str]] = {}  # module -> imported name -> dotted name
        self.methods: dict[str, list[Function]] = {}  # by their last name
        for module, path in house.modules.items():
            if not module.startswith("scripts"):
                self._index(module, ast.parse(path.read_text(encoding="utf-8")))
        self.visited: dict[int, Function] = {}  # by the identity of their nodes, in order
        self.open = 0
        self.results: dict[tuple[int, frozenset[str]], Value] = {}
        self.self_classes: dict[tuple[str, str], frozenset[str]] = {}
        for cls in self.classes.values():
            result = (self._resolve(base, cls.module, {}) for base in cls.node.bases)
            cls.bases = [base for base in result if isinstance(base, str) and base in self.classes]

    def start(self, module: str, name: str, parameter: str) -> None:
        """Follow a parameter of a function or method to where it ends."""
        function = self._find(f"{module}.{name}")
        if not isinstance(function, Function) or parameter not in _parameters(function.node):
            raise SystemExit(f"there is no parameter {parameter} of {name} in {module}")
        self._enter(function, {parameter: Value(carries=True)}, {})

    # What there is.

    def _index(self, module: str, tree: ast.Module) -> None:
        names = self.names[module] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.update(_import_names(node))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions[f"{module}.{node.name}"] = Function(module, node.name, node)
            elif isinstance(node, ast.ClassDef):
                self._index_class(module, node)

    def _index_class(self, module: str, node: ast.ClassDef) -> None:
        name = f"{module}.{node.name}"
        cls = self.classes[name] = Class(module, node.name, node)
        for part in node.body:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                method = Function(module, f"{node.name}.{part.name}", part, name)
                cls.methods[part.name] = method
                self.methods.setdefault(part.name, []).append(method)
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                cls.annotations[part.target.id] = part.annotation

    def _resolve(self, node: ast.expr, module: str, local: Mapping[str, Target]) -> Target | None:
        """Return the function, class or module that an expression names, if it names one."""
        if isinstance(node, ast.Subscript):  # Generic[T]
            return self._resolve(node.value, module, local)
        if isinstance(node, ast.Attribute):
            base = self._resolve(node.value, module, local)
            return self._find(f"{base}.{node.attr}") if isinstance(base, str) else None
        if not isinstance(node, ast.Name):
            return None
        if node.id in local:
            return local[node.id]
        return self._find(f"{module}.{node.id}") or self._find(self.names[module].get(node.id, ""))

    def _find(self, name: str) -> Target | None:
        """Return what a dotted name means, through the modules that only hand it on."""
        for _ in range(5):
            if name in self.functions:
                return self.functions[name]
            if name in self.classes or name in self.modules:
                return name
            module, _, last = name.rpartition(".")
            owner = self.classes.get(module)
            if owner is not None:  # a method named by its class
                return self._method(module, last)
            if last not in self.names.get(module, {}):
                return None
            name = self.names[module][last]
        return None

    def _method(self, cls: str, name: str) -> Function | None:
        """Return a method of a class or the nearest of its bases."""
        if name in self.classes[cls].methods:
            return self.classes[cls].methods[name]
        return self._above(cls, name)

    def _above(self, cls: str, name: str) -> Function | None:
        """Return the method of a class's bases that `super()` means."""
        result = (self._method(base, name) for base in self.classes[cls].bases)
        return next((method for method in result if method is not None), None)

    def _family(self, cls: str) -> set[str]:
        """Return a class and all its bases."""
        return {cls}.union(*(self._family(base) for base in self.classes[cls].bases))

    def _annotated(self, node: ast.expr | None, module: str) -> frozenset[str]:
        """Return the classes of the tree that an annotation names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if node is None:
            return frozenset()
        parts = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
        result = {self._resolve(part, module, {}) for part in parts}
        return frozenset(name for name in result if isinstance(name, str) and name in self.classes)

    def _classes_of_field(self, cls: str, name: str) -> frozenset[str]:
        """Return the classes of a field, by its annotation or by what methods assign to it."""
        if (cls, name) in self.self_classes:
            return self.self_classes[cls, name]
        self.self_classes[cls, name] = frozenset()  # while it is being found
        result: frozenset[str] = frozenset()
        for each in self._family(cls):
            known = self.classes[each]
            result |= self._annotated(known.annotations.get(name), known.module)
            for method in known.methods.values():
                if method.node.name == name and method.is_("property", "cached_property"):
                    result |= self._annotated(method.node.returns, known.module)
                result |= self._classes_assigned(method, name)
        self.self_classes[cls, name] = result
        return result

    def _classes_assigned(self, method: Function, name: str) -> frozenset[str]:
        result: frozenset[str] = frozenset()
        for node in ast.walk(method.node):
            for target in targets_of(node):
                if ast.unparse(target) != f"self.{name}":
                    continue
                if isinstance(node, ast.AnnAssign):
                    result |= self._annotated(node.annotation, method.module)
                elif isinstance(node, ast.Assign):
                    result |= self._classes_of_expression(node.value, method)
        return result

    def _classes_of_expression(self, node: ast.expr, method: Function) -> frozenset[str]:
        """Return the classes of an expression of parameters, constructors and functions."""
        if isinstance(node, ast.Name):
            parameters = _parameters(method.node)
            return self._annotated(parameters.get(node.id), method.module)
        if isinstance(node, ast.BoolOp | ast.IfExp):
            parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
            return frozenset().union(*(self._classes_of_expression(part, method) for part in parts))
        if isinstance(node, ast.Call):
            target = self._resolve(node.func, method.module, {})
            if isinstance(target, Function):
                return self._annotated(target.node.returns, target.module)
            if target in self.classes:
                return frozenset({str(target)})
        return frozenset()

    # The trip.

    def _enter(
        self,
        function: Function,
        values: Mapping[str, Value],
        closure: Mapping[str, Value],
    ) -> Value:
        """Enter a function with values of its parameters; return what is known of its result."""
        self.visited.setdefault(id(function.node), function)
        return self._follow(function, values, closure)

    def _follow(
        self,
        function: Function,
        values: Mapping[str, Value],
        closure: Mapping[str, Value],
        local: Mapping[str, Target] | None = None,
    ) -> Value:
        returns = self._annotated(function.node.returns, function.module)
        carrying = frozenset(name for name, value in values.items() if value.carries)
        key = (id(function.node), carrying)
        if key in self.results:
            return self.results[key]
        self.results[key] = Value(classes=returns)  # of a call of itself
        frame = Frame(function.module, function.owner, dict(closure), dict(local or {}))
        for name, annotation in _parameters(function.node).items():
            value = values.get(name, NOTHING)
            classes = self._annotated(annotation, function.module)
            # What a parameter was given tells more than its annotation.
            frame.names[name] = replace(value, classes=value.classes or classes)
        self._block(function.node.body, frame)
        result = frame.result
        self.results[key] = replace(result, classes=result.classes or returns)
        return self.results[key]

    def _block(self, body: Iterable[ast.stmt], frame: Frame) -> None:
        for statement in body:
            self._statement(statement, frame)

    def _statement(self, node: ast.stmt, frame: Frame) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                for name, meaning in _import_names(node).items():
                    imported = self._find(meaning)
                    if imported is not None:
                        frame.local[name] = imported
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                # A function within another may be handed to anybody: it is followed where it
                # stands, for what it takes from around it.
                inner = Function(frame.module, node.name, node, frame.owner)
                frame.local[node.name] = inner
                self._follow(inner, {}, frame.names, frame.local)
            case ast.Assign():
                value = self._value(node.value, frame)
                for target in node.targets:
                    self._assign(target, value, frame)
            case ast.AnnAssign():
                if node.value is not None:
                    value = self._value(node.value, frame)
                    classes = self._annotated(node.annotation, frame.module)
                    known = replace(value, classes=value.classes or classes)
                    self._assign(node.target, known, frame)
            case ast.AugAssign():
                value = self._value(node.value, frame)
                if isinstance(node.target, ast.Name):  # a list grows by what is added
                    before = frame.names.get(node.target.id, NOTHING)
                    frame.names[node.target.id] = before.or_else(value)
            case ast.Return():
                if node.value is not None:
                    frame.result = frame.result.or_else(self._value(node.value, frame))
            case ast.For() | ast.AsyncFor():
                items = self._value(node.iter, frame)
                frame.branches += 1
                self._assign(node.target, items, frame)
                self._block([*node.body, *node.orelse], frame)
                frame.branches -= 1
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self._value(item.context_expr, frame)
                    if item.optional_vars is not None:
                        self._assign(item.optional_vars, value, frame)
                self._block(node.body, frame)
            case ast.ClassDef():
                pass
            case _:
                self._other_statement(node, frame)

    def _other_statement(self, node: ast.stmt, frame: Frame) -> None:
        """Follow the expressions and blocks of a statement that assigns nothing."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._value(child, frame)
        frame.branches += 1
        for _, part in ast.iter_fields(node):
            for child in part if isinstance(part, list) else ():
                if isinstance(child, ast.stmt):
                    self._statement(child, frame)
                elif isinstance(child, ast.ExceptHandler | ast.match_case):
                    self._block(child.body, frame)
        frame.branches -= 1

    def _assign(self, target: ast.expr, value: Value, frame: Frame) -> None:
        if isinstance(target, ast.Starred):
            self._assign(target.value, value, frame)
        elif isinstance(target, ast.Tuple | ast.List):
            whole = replace(value, parts=())
            parts = value.parts if len(value.parts) == len(target.elts) else ()
            for i, element in enumerate(target.elts):
                self._assign(element, parts[i] if parts else whole, frame)
        elif isinstance(target, ast.Name):
            before = frame.names.get(target.id, NOTHING) if frame.branches else NOTHING
            frame.names[target.id] = before.or_else(value) if frame.branches else value
        elif isinstance(target, ast.Attribute) and value.carries:
            owner = self._value(target.value, frame)
            for cls in owner.classes:
                self.classes[cls].carrying.add(target.attr)
            self._put_into(target.value, frame, built=bool(owner.classes))
        elif isinstance(target, ast.Subscript) and value.carries:
            self._put_into(target.value, frame, built=value.built)

    def _put_into(self, node: ast.expr, frame: Frame, *, built: bool) -> None:
        """Note that what a name stands for now carries."""
        if isinstance(node, ast.Name):
            before = frame.names.get(node.id, NOTHING)
            frame.names[node.id] = before.or_else(Value(carries=True, built=built))
        elif isinstance(node, ast.Attribute):
            self._assign(node, Value(carries=True, built=built), frame)

    def _value(self, node: ast.expr, frame: Frame) -> Value:
        """Follow the calls of an expression in their order; return what is known of it."""
        match node:
            case ast.Name():
                return frame.names.get(node.id, NOTHING)
            case ast.Attribute():
                return self._attribute(node, frame)
            case ast.Call():
                return self._call(node, frame)
            case ast.Subscript():
                value = self._value(node.value, frame)
                self._value(node.slice, frame)
                index = node.slice.value if isinstance(node.slice, ast.Constant) else None
                if isinstance(index, int) and index < len(value.parts):
                    return value.parts[index]
                return replace(value, parts=())
            case ast.Tuple():
                parts = tuple(self._value(part, frame) for part in node.elts)
                return replace(_any_of(parts), parts=parts)
            case ast.List() | ast.Set():
                return _any_of([self._value(part, frame) for part in node.elts])
            case ast.Dict():
                keys = [self._value(key, frame) for key in node.keys if key is not None]
                return _any_of(keys + [self._value(value, frame) for value in node.values])
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node, frame)
            case ast.IfExp():
                self._value(node.test, frame)
                return self._value(node.body, frame).or_else(self._value(node.orelse, frame))
            case ast.BoolOp():
                return _any_of([self._value(part, frame) for part in node.values])
            case ast.Starred() | ast.Await() | ast.YieldFrom():
                value = self._value(node.value, frame)
                if isinstance(node, ast.YieldFrom):
                    frame.result = frame.result.or_else(value)
                return value
            case ast.Yield():
                if node.value is not None:
                    frame.result = frame.result.or_else(self._value(node.value, frame))
                return NOTHING
            case ast.NamedExpr():
                value = self._value(node.value, frame)
                self._assign(node.target, value, frame)
                return value
            case ast.Lambda():
                inside = replace(frame, names={**frame.names, **_no_values(node.args)})
                self._value(node.body, inside)
                return NOTHING
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._value(child, frame)
        return NOTHING

    def _comprehension(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp,
        frame: Frame,
    ) -> Value:
        inside = replace(frame, names=dict(frame.names), branches=0)
        for loop in node.generators:
            self._assign(loop.target, self._value(loop.iter, inside), inside)
            for condition in loop.ifs:
                self._value(condition, inside)
        if isinstance(node, ast.DictComp):
            key, value = self._value(node.key, inside), self._value(node.value, inside)
            return replace(key.or_else(value), parts=())
        return self._value(node.elt, inside)

    def _attribute(self, node: ast.Attribute, frame: Frame) -> Value:
        owner = self._value(node.value, frame)
        result = NOTHING
        for cls in sorted(owner.classes):
            method = self._method(cls, node.attr)
            is_property = method is not None and method.is_("property", "cached_property")
            if method is not None and is_property and owner.carries:
                return self._follow(method, {"self": replace(owner, parts=())}, {})
            fields = set().union(*(self.classes[each].carrying for each in self._family(cls)))
            carries = owner.carries and (not owner.built or node.attr in fields)
            # A field that carries may itself be an object that tells which part of it does.
            classes = self._classes_of_field(cls, node.attr)
            built = any(self.classes[each].carrying for each in classes)
            result = result.or_else(Value(carries, carries and built, classes))
        if not owner.classes and owner.carries:
            result = Value(carries=True, built=owner.built)
        return result

    def _call(self, node: ast.Call, frame: Frame) -> Value:
        method = node.func if isinstance(node.func, ast.Attribute) else None
        target = self._resolve(node.func, frame.module, frame.local)
        if isinstance(node.func, ast.Name) and node.func.id in frame.names:
            target = None  # a parameter or variable hides what bears its name elsewhere
        owner = NOTHING
        if target is None and method is not None:
            owner = self._value(method.value, frame)
        elif target is None:
            self._value(node.func, frame)
        positional = [self._value(argument, frame) for argument in node.args]
        named = {word.arg: self._value(word.value, frame) for word in node.keywords}
        carries = any(value.carries for value in [*positional, *named.values()])
        if isinstance(target, str) and target in self.classes:
            return self._build(target, positional, named)
        if target is None and method is not None:
            if frame.owner and _is_super(method.value):
                target = self._above(frame.owner, method.attr)
                owner = frame.names.get("self", NOTHING)
            else:
                target = self._callee(owner, method.attr, carries)
        if isinstance(target, Function):
            return self._pass(target, owner, positional, named, frame)
        return self._outside(node, owner, positional, named, frame)

    def _callee(self, owner: Value, name: str, carries: bool) -> Function | None:
        """Return the method that a call means; None: none of the tree, or it cannot be told."""
        result = {id(m): m for cls in owner.classes if (m := self._method(cls, name)) is not None}
        if not owner.classes and name not in FORMS | ADDERS:
            result = {id(method): method for method in self.methods.get(name, [])}
        if len(result) > 1 and (carries or owner.carries):
            self.open += 1
        return next(iter(result.values())) if len(result) == 1 else None

    def _pass(
        self,
        function: Function,
        owner: Value,
        positional: list[Value],
        named: Mapping[str | None, Value],
        frame: Frame,
    ) -> Value:
        """Call a function of the tree: enter it, if anything that it is given carries."""
        parameters = list(_parameters(function.node))
        is_bound = function.owner is not None and parameters[:1] in (["self"], ["cls"])
        given = [owner, *positional] if is_bound else positional
        values = dict(zip(parameters, given, strict=False))
        values |= {name: value for name, value in named.items() if name in parameters}
        variable = function.node.args.vararg
        if variable is not None and len(given) > len(parameters):
            values[variable.arg] = _any_of(given[len(parameters) :])
        if any(value.carries for value in values.values()):
            is_local = frame.local.get(function.name) is function
            return self._enter(function, values, frame.names if is_local else {})
        classes = self._annotated(function.node.returns, function.module)
        return Value(classes=classes)

    def _build(
        self,
        name: str,
        positional: list[Value],
        named: Mapping[str | None, Value],
    ) -> Value:
        """Build an object of a class of the tree; note which of its fields carry."""
        carries = any(value.carries for value in [*positional, *named.values()])
        result = Value(carries=carries, built=carries, classes=frozenset({name}))
        if not carries:
            return result
        init = self._method(name, "__init__")
        if init is not None:
            parameters = list(_parameters(init.node))[1:]
            values = dict(zip(parameters, positional, strict=False))
            values |= {word: value for word, value in named.items() if word in parameters}
            self._enter(init, {"self": result, **values}, {})
            return result
        family = sorted(self._family(name), key=lambda each: -len(self._family(each)))
        fields = [each for cls in reversed(family) for each in self.classes[cls].annotations]
        for word, value in [*zip(fields, positional, strict=False), *named.items()]:
            if value.carries and word is not None:
                self.classes[name].carrying.add(word)
        after = self._method(name, "__post_init__")
        if after is not None:
            self._enter(after, {"self": result}, {})
        return result

    def _outside(
        self,
        node: ast.Call,
        owner: Value,
        positional: list[Value],
        named: Mapping[str | None, Value],
        frame: Frame,
    ) -> Value:
        """Call what is not of the tree, or not known."""
        name = last_name(node.func)
        # A function of the tree that is handed over with a value is called with it: `map`.
        handed = self._resolve(node.args[0], frame.module, frame.local) if node.args else None
        if isinstance(node.func, ast.Call) and node.func.args:  # jax.jit(function)(value)
            handed = self._resolve(node.func.args[0], frame.module, frame.local)
            if isinstance(handed, Function):
                return self._pass(handed, NOTHING, positional, named, frame)
        elif isinstance(handed, Function) and any(value.carries for value in positional[1:]):
            return self._pass(handed, NOTHING, positional[1:], named, frame)
        added = _any_of(positional)
        if name in ADDERS and added.carries and isinstance(node.func, ast.Attribute):
            self._put_into(node.func.value, frame, built=added.built)
        if name not in FORMS:
            return NOTHING
        if name == "zip":
            return replace(_any_of(positional), parts=tuple(positional))
        if name == "enumerate" and positional:
            return replace(positional[0], parts=(NOTHING, positional[0]))
        if name == "items":
            return replace(owner, parts=(owner, owner))
        return replace(_any_of([owner, *positional, *named.values()]), parts=())


def follow(house: House, start: str) -> dict[str, int]:
    """Follow a parameter, "FILE:FUNCTION:PARAMETER", and return the counts of its trip."""
    file, function, parameter = start.split(":")
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    trip = Trip(house)
    trip.start(module, function, parameter)
    levels = package_levels(house)
    visited = trip.visited.values()
    stays = [module for module, _ in itertools.groupby(function.module for function in visited)]
    heights = [levels[package_of(module)] for module in stays]
    return {
        "stays": len(stays),
        "modules": len(set(stays)),
        "climbs": sum(after > before for before, after in itertools.pairwise(heights)),
        "functions": len(trip.visited),
        "open": trip.open,
    }


def _any_of(values: Iterable[Value]) -> Value:
    """Return what is known of a container of these values."""
    result = NOTHING
    for value in values:
        result = result.or_else(replace(value, parts=()))
    return result


def _no_values(arguments: ast.arguments) -> dict[str, Value]:
    return {argument.arg: NOTHING for argument in [*arguments.posonlyargs, *arguments.args]}


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.expr | None]:
    """Return the annotations of the parameters that a call can name or place, in their order."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {argument.arg: argument.annotation for argument in every}


def targets_of(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _import_names(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Return the names that an import binds, and what they mean."""
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    bound = {alias.asname: alias.name for alias in node.names if alias.asname}
    roots = {alias.name.split(".")[0] for alias in node.names if not alias.asname}
    return {**bound, **{root: root for root in roots}}


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) == "super"


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name or of the name of what is called; else ""."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")

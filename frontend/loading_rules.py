"""What the texts of an exported program may be, so that PyTorch can be given them.

PyTorch's reader turns texts into more than texts: ``target`` into an attribute of ``torch``,
``expr_str`` into the value of a Python expression, names into source code, the context of a tree
into imports. Each has a rule here; a text without a rule has to be harmless by its letters. What is
not needed (guards, sources of nodes) is left out instead.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable
from typing import Any

from r2b.frontend.loading_files import listed

MAX_NODES = 100_000


class RuleError(Exception):
    """A program breaks a rule; the text names what it holds."""


_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DOTTED = re.compile(r"[\w.]*", re.ASCII)
_PLAIN = re.compile(r"[\w.+:/ -]*", re.ASCII)
_WORDS = (
    "Symbol", "Integer", "integer", "positive", "nonnegative", "True", "False",
    "Add", "Mul", "FloorDiv", "CeilDiv", "CleanDiv", "Mod", "PythonMod", "Max", "Min",
    "Eq", "Ne", "Ge", "Gt", "Le", "Lt",
)  # fmt: skip
"""The words of a size; no powers, which could be huge."""
_EXPRESSION = re.compile(
    rf"(?:\b(?:{'|'.join(_WORDS)})\b|'?\b[a-z]{{1,2}}\d+\b'?|\b\d{{1,18}}\b"
    r"|(?<!\*)\*(?!\*)|[-+(),= ])+",
    re.ASCII,
)
_OPERATOR = re.compile(r"torch\.ops\.aten\.(?P<name>\w+)\.\w+", re.ASCII)
_FILES = {"from_file", "save", "_save_to"}
"""Operators of ATen that touch files."""
_OTHER_TARGETS = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled",
    "torch.ops.higher_order.wrap_with_autocast",
    "torch.sym_max", "torch.sym_min", "torch.sym_float", "torch.sym_int", "torch.sym_not",
    *(f"_operator.{name}" for name in (
        "getitem", "add", "sub", "mul", "truediv", "floordiv", "mod", "neg",
        "eq", "ne", "lt", "le", "gt", "ge", "and_", "or_",
    )),
}  # fmt: skip
_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
_KEPT_METADATA = ("stack_trace", "nn_module_stack")
_FRAME = re.compile(r'File "[^"]*", line \d{1,9}, in .*')
_STACK = re.compile(r"[^,;]*,[^,;]*,[^,;()\[\]]*(;[^,;]*,[^,;]*,[^,;()\[\]]*)*")


def clean_program(program: dict[str, Any]) -> dict[str, Any]:
    """Check the table of an exported program; give it without what is not needed.

    Raises
    ------
    RuleError
        A text in it does not fit its rule.
    """
    _check_targets(program)
    module = program["graph_module"]
    root = [entry for entry in module["module_call_graph"] if entry["fqn"] == ""]
    cleaned = {
        **program,
        "graph_module": {
            **module,
            "module_call_graph": root[:1],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "guards_code": [],
        "verifiers": [name for name in program.get("verifiers", []) if name in _DIALECTS],
    }
    return _walk(cleaned, "")


_DIALECTS = ("TRAINING", "ATEN")
"""Names of torch's own checks; the first lets operations in place pass, as exported."""


def _check_targets(program: dict[str, Any]) -> None:
    """Name all operators at once that are none of PyTorch's own."""
    found: list[str] = []
    _collect_targets(program["graph_module"]["graph"], found)
    if len(found) > MAX_NODES:
        raise RuleError(f"{len(found):,} operations")
    wrong = sorted({target for target in found if not _is_known(target)})
    if wrong:
        raise RuleError(f"operations that are not PyTorch's own or touch files ({listed(wrong)})")


def _is_known(target: str) -> bool:
    match = _OPERATOR.fullmatch(target)
    return target in _OTHER_TARGETS or (match is not None and match["name"] not in _FILES)


def _collect_targets(value: Any, found: list[str]) -> None:
    if isinstance(value, dict):
        for node in value.get("nodes") or []:
            found.append(str(node["target"]))
        for inner in value.values():
            _collect_targets(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _collect_targets(inner, found)


# ------------------------------------------------------------------------------------------- texts


def _walk(value: Any, key: str) -> Any:
    """Check every text below a key; give the value, without metadata that is not needed."""
    if key == "metadata":
        return _metadata(value)
    if isinstance(value, dict):
        for name in value:
            _check_key(name)
        return {name: _walk(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_walk(inner, key) for inner in value]
    if isinstance(value, str):
        _RULES.get(key, _plain)(key, value)
    return value


def _check_key(name: str) -> None:
    if _DOTTED.fullmatch(name) is None:
        raise RuleError(f"the name {name!r:.60}")
    if name in ("as_custom_obj", "custom_obj", "as_operator", "as_opaque", "opaque"):
        raise RuleError("objects that only running code could rebuild")


def _metadata(entries: dict[str, str]) -> dict[str, str]:
    """Where a node stands in the model; the rest is history."""
    kept = {name: entries[name] for name in _KEPT_METADATA if entries.get(name)}
    if not all(isinstance(text, str) for text in kept.values()):
        raise RuleError("a node's place that is no text")
    if not _STACK.fullmatch(kept.get("nn_module_stack", ",,")):
        del kept["nn_module_stack"]
    lines = [line.strip() for line in kept.get("stack_trace", "").splitlines()]
    if not all(_FRAME.fullmatch(line) for line in lines if line.startswith('File "')):
        del kept["stack_trace"]
    return kept


def _identifier(key: str, text: str) -> None:
    if text and (_IDENTIFIER.fullmatch(text) is None or keyword.iskeyword(text)):
        raise RuleError(f"{text!r:.60} as a name")


def _target(key: str, text: str) -> None:
    if not _is_known(text) and _DOTTED.fullmatch(text) is None:
        raise RuleError(f"{text!r:.60} as an operation")


def _expression(key: str, text: str) -> None:
    if len(text) > 400 or _EXPRESSION.fullmatch(text) is None:
        raise RuleError(f"{text!r:.60} as a size")


def _dotted(key: str, text: str) -> None:
    if _DOTTED.fullmatch(text) is None:
        raise RuleError(f"{text!r:.60} as the name of a tensor")


def _tree(key: str, text: str) -> None:
    """Check the structure of arguments or results: tuples, lists and dicts with names as keys."""
    _, tree = json.loads(text)
    _check_tree(tree)


def _check_tree(tree: dict[str, Any]) -> None:
    context = tree["context"]
    names = json.loads(context) if context is not None else None
    plain = names is None or isinstance(names, list)
    if tree["type"] not in _TREES or not plain:
        raise RuleError(f"arguments in a {tree['type']!r:.60}")
    for name in names or []:
        if not isinstance(name, str):
            raise RuleError("arguments whose names are no text")
        _identifier("", name)
    for child in tree["children_spec"]:
        _check_tree(child)


def _free(key: str, text: str) -> None:
    """Accept a text that stays one."""


def _plain(key: str, text: str) -> None:
    if len(text) > 1000 or _PLAIN.fullmatch(text) is None:
        raise RuleError(f"{text!r:.60} as {key or 'a text'}")


_RULES: dict[str, Callable[[str, str], None]] = {
    "name": _identifier,
    "as_name": _identifier,
    "forward_arg_names": _identifier,
    "user_input_name": _identifier,
    "target": _target,
    "expr_str": _expression,
    "parameter_name": _dotted,
    "buffer_name": _dotted,
    "tensor_constant_name": _dotted,
    "in_spec": _tree,
    "out_spec": _tree,
    "as_string": _free,
}
"""The rule of each text, by the key it stands under."""

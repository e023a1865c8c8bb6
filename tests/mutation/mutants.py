"""The mutants of one module: its source, changed in one place each.

A change that is no Python, or that only touches annotations, types and docstrings, is no mutant.
"""

import ast
import difflib
import re
from collections.abc import Iterator
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tests.mutation.operators import operators

_CLASS = re.compile(r"_?[A-Z]\w*[a-z]\w*|None")


class Mutant(NamedTuple):
    """One wrong version of a module."""

    module: str  # its path below the root
    place: str  # the function or class
    line: int
    operator: str
    before: str  # the lines that changed, as one
    after: str
    source: str


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines; of two that do the same, the first.

    One statement of the module is looked at after the other: a short text is parsed quickly.
    """
    parts = [node.get_code() for node in get_ast(source).children]
    found = []
    for index, part in enumerate(parts):
        for name, mutated in _mutated(part):
            whole = "".join([*parts[:index], mutated, *parts[index + 1 :]])
            line, before, after = _difference(source, whole)
            found.append(Mutant(module, _place(source, line), line, name, before, after, whole))
    return sorted(found, key=lambda mutant: mutant.line)


def _mutated(part: str) -> Iterator[tuple[str, str]]:
    nodes, seen = list(ast_nodes(get_ast(part))), {_meaning_of(part), None}
    for name, operator in operators():
        for occurrence in range(sum(1 for node in nodes for _ in operator.mutation_positions(node))):
            mutated = mutate_code(part, operator, occurrence) or part
            meaning = _meaning_of(mutated)
            if meaning not in seen:
                seen.add(meaning)
                yield name, mutated


def _meaning_of(mutated: str) -> str | None:
    """None: it is no Python, or raises a TypeError wherever it is met."""
    try:
        tree = ast.parse(mutated)
        compile(tree, "mutant", "exec")
    except SyntaxError:
        return None
    of_types = any(isinstance(node, ast.BinOp) and _is_of_types(node) for node in ast.walk(tree))
    return None if of_types else _meaning(tree)


def _is_of_types(node: ast.BinOp) -> bool:
    """`A & B` of classes."""
    sides = [ast.unparse(side).rpartition(".")[2] for side in (node.left, node.right)]
    return not isinstance(node.op, ast.BitOr) and any(_CLASS.fullmatch(side) for side in sides)


def _meaning(tree: ast.AST) -> str:
    """What the source does: without annotations, and in one form where there are several for the same."""
    return ast.dump(_Plain().visit(tree))


class _Plain(ast.NodeTransformer):
    """`not a is b` is `a is not b`, and how arguments may be passed is not what a rule is about."""

    opposites = {  # noqa: RUF012
        ast.Is: ast.IsNot,
        ast.IsNot: ast.Is,
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
        ast.In: ast.NotIn,
        ast.NotIn: ast.In,
        ast.Lt: ast.GtE,
        ast.GtE: ast.Lt,
        ast.Gt: ast.LtE,
        ast.LtE: ast.Gt,
    }

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        inner = self.visit(node.operand)
        node.operand = inner
        if isinstance(node.op, ast.Not) and isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.Not):
            return inner.operand
        if isinstance(node.op, ast.Not) and isinstance(inner, ast.Compare) and type(inner.ops[0]) in self.opposites:
            return ast.Compare(inner.left, [self.opposites[type(inner.ops[0])]()], inner.comparators)
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        every = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        return ast.arguments([], [ast.arg(each.arg) for each in every], node.vararg, [], [], node.kwarg, node.defaults)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = []  # whether a value has slots
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _difference(source: str, mutated: str) -> tuple[int, str, str]:
    old, new = source.splitlines(), mutated.splitlines()
    changes = [code for code in difflib.SequenceMatcher(None, old, new, False).get_opcodes() if code[0] != "equal"]
    first, last = changes[0], changes[-1]
    before, after = old[first[1] : last[2]], new[first[3] : last[4]]
    return first[1] + 1, " ".join(map(str.strip, before)), " ".join(map(str.strip, after))


def _place(source: str, line: int) -> str:
    """The functions and classes around a line, as `_Entry._settle`."""
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    around = (node for node in ast.walk(ast.parse(source)) if isinstance(node, named))
    inside = sorted((n for n in around if n.lineno <= line <= (n.end_lineno or line)), key=lambda n: n.lineno)
    return ".".join(node.name for node in inside)

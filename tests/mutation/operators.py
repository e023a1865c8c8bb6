"""Which changes of a rule make a mutant: those of cosmic-ray that say something, and three of our own.

Left out are changes that end in a TypeError wherever they are met (`a ** b` of amounts, `A & B` of types), for they
raise the share without saying anything, `is` for `==`, which differs in nothing that a rule could be about, and
`<=` for `==` but beside numbers, for the order of words means nothing.
"""

import re
from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator
from parso import parse

_NUMBER = re.compile(r"\b\d|\blen\(|\bsum\(|amount\b")
_SUBSCRIPT = re.compile(r"\[[^\[\]]*\]")  # its number is a place
Position = tuple[tuple[int, int], tuple[int, int]]
CHOSEN = (
    "AddNot",
    "ExceptionReplacer",
    "NumberReplacer",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ZeroIterationForLoop",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBinaryOperator_Sub_BitAnd",  # of sets: what is left becomes what both have
    "ReplaceBinaryOperator_Mul_Add",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_BitOr_BitAnd",
    "ReplaceBinaryOperator_BitOr_BitXor",
    "ReplaceBinaryOperator_BitAnd_BitOr",
    "ReplaceBinaryOperator_BitAnd_BitXor",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_Lt_GtE",
    "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceComparisonOperator_LtE_Gt",
    "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_Gt_LtE",
    "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_GtE_Lt",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_IsNot_Is",
)


BESIDE_NUMBERS = (
    "ReplaceComparisonOperator_Eq_LtE",
    "ReplaceComparisonOperator_Eq_GtE",
    "ReplaceComparisonOperator_NotEq_Lt",
    "ReplaceComparisonOperator_NotEq_Gt",
)


class BesideNumbers(Operator):
    """An operator of cosmic-ray, where one of the two sides is a number."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Comparisons of numbers."""
        if node.type == "comparison" and _NUMBER.search(_SUBSCRIPT.sub("", node.get_code())):
            yield from self._operator.mutation_positions(node)

    def mutate(self, node: Any, index: int) -> Any:
        """As cosmic-ray does."""
        return self._operator.mutate(node, index)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For readers."""
        return (Example("len(a) == 1", "len(a) <= 1"),)


class NegatedFilter(Operator):
    """`x for x in y if z` takes what it left out; cosmic-ray negates statements and expressions only."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """The condition of a comprehension."""
        if node.type == "comp_if":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The opposite condition."""
        node.children[1] = parse(f" not ({node.children[1].get_code().strip()})")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For readers."""
        return (Example("[a for a in b if c]", "[a for a in b if not (c)]"),)


class SwappedExtreme(Operator):
    """The least for the greatest, any for all: a word as decisive as an operator."""

    swaps = {"min": "max", "max": "min", "any": "all", "all": "any"}  # noqa: RUF012

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """A name that is called or handed over."""
        if node.type == "name" and node.value in self.swaps and node.get_previous_leaf().value != ".":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The other one."""
        node.value = self.swaps[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For readers."""
        return (Example("max(a, b)", "min(a, b)"),)


class DroppedStatement(Operator):
    """A line that only has an effect (a call, `x += y`, `x[y] = z`) does nothing."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Calls whose answer nobody takes, and assignments to a part of something."""
        if node.parent is not None and node.parent.type == "simple_stmt" and (_is_call(node) or _is_change(node)):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Nothing in its place."""
        node.children[:] = [parse(f"{node.get_first_leaf().prefix}pass")]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For readers."""
        return (Example("a += b", "pass"), Example("a.append(b)", "pass"))


def _is_call(node: Any) -> bool:
    """`assert_never` is never reached."""
    is_call = node.type == "atom_expr" and node.children[-1].type == "trailer"
    return is_call and node.get_first_leaf().value != "assert_never"


def _is_change(node: Any) -> bool:
    if node.type != "expr_stmt":
        return False
    target, sign = node.children[:2]
    return target.type == "atom_expr" or (sign.type == "operator" and sign.value != "=")


def operators() -> Iterator[tuple[str, Operator]]:
    """Every operator with its name."""
    for name in CHOSEN:
        yield name, get_operator(f"core/{name}")()
    for name in BESIDE_NUMBERS:
        yield name, BesideNumbers(get_operator(f"core/{name}")())
    for own in (NegatedFilter, SwappedExtreme, DroppedStatement):
        yield own.__name__, own()

"""Expressions in CEL, the Common Expression Language, as the reference server evaluates them over plain trees.

It needs the extra `cel` (`pip install reconcile-toolkit[cel]`), which brings cel-cpp; `available` tells whether it is there.
Nothing is loaded before the first expression is compiled.

    language       compile and evaluate
    mutations      expressions that say how an object is to be changed
    functions      the functions that the reference server adds to the language
    authorization  the one variable that asks somebody

Source: https://kubernetes.io/docs/reference/using-api/cel/
"""

from .language import BrokenExpressionError, EvaluationError, Expression, available, compile_expression

__all__ = ["BrokenExpressionError", "EvaluationError", "Expression", "available", "compile_expression"]

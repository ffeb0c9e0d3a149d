"""Kinds that clients declare by data: CustomResourceDefinition, and the controller that has them served.

definition      the CustomResourceDefinition kind
rules           what makes a definition valid
structural      what makes its schemas structural
declared        a definition as the `Kind` values that the API server serves
acceptance      which names a definition gets, and the conditions that say so
removal         deletes the objects of a kind that goes
controller      the operator
"""

from .controller import custom_resources
from .definition import CustomResourceDefinition

__all__ = ["CustomResourceDefinition", "custom_resources"]

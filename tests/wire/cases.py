"""The cases of a program, in the order in which their modules are imported."""

from typing import Callable

Case = Callable[..., None]
cases: list[tuple[str, Case]] = []


def case(name: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        cases.append((name, function))
        return function
    return add

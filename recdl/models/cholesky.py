"""Small systems of linear equations, solved inside compiled loops."""

import numpy as np
import numpy.typing as npt

from recdl.models.compiled import compiled_fast


@compiled_fast
def solve_in_place(matrix: npt.NDArray[np.floating], solution: npt.NDArray[np.floating]) -> None:
    """Solve `matrix @ x = solution` by Cholesky, which overwrites both; x is left in `solution`.

    An unknown whose pivot is not above 0, which no positive definite matrix has, is taken out and comes out as 0.

    Args:
        matrix: (n, n), symmetric, of which the lower triangle is read.
        solution: (n,), the right-hand side.
    """
    n = len(solution)
    for i in range(n):
        row = matrix[i]
        for j in range(i):
            other = matrix[j]
            total = row[j]
            for x in range(j):
                total -= row[x] * other[x]
            row[j] = total * other[j]  # the diagonal holds what is to be multiplied with
        pivot = row[i]
        floor = 1e-6 * pivot
        for x in range(i):
            pivot -= row[x] * row[x]
        row[i] = 1 / np.sqrt(pivot) if pivot > floor and pivot > 0 else 0
    for i in range(n):
        total = solution[i]
        for x in range(i):
            total -= matrix[i, x] * solution[x]
        solution[i] = total * matrix[i, i]
    for i in range(n - 1, -1, -1):
        value = solution[i] * matrix[i, i]
        solution[i] = value
        for x in range(i):
            solution[x] -= matrix[i, x] * value

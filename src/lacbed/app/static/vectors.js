// Vectors and rotations in three dimensions; a matrix is a list of its rows.

export const STRAIGHT = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const apply = (matrix, v) => matrix.map((row) => dot(row, v));
/** Coordinates times the rows of a basis. */
export const along = (basis, n) => [0, 1, 2].map((i) => n[0] * basis[0][i] + n[1] * basis[1][i] + n[2] * basis[2][i]);
export const length = (v) => Math.hypot(...v);

export const transposed = (matrix) => [0, 1, 2].map((j) => matrix.map((row) => row[j]));
export const product = (a, b) => a.map((row) => transposed(b).map((column) => dot(row, column)));

/** The rotation about a unit vector by an angle in radians. */
export function rotation([a, b, c], angle) {
  const [u, s] = [1 - Math.cos(angle), Math.sin(angle)];
  return [
    [1 - u + a * a * u, a * b * u - c * s, a * c * u + b * s],
    [a * b * u + c * s, 1 - u + b * b * u, b * c * u - a * s],
    [a * c * u - b * s, b * c * u + a * s, 1 - u + c * c * u],
  ];
}

/** The rows of a rotation, made orthonormal again: rounding of many small turns must not shear the sphere. */
export function orthonormal(rows) {
  const first = rows[0].map((v) => v / length(rows[0]));
  const mixed = rows[1].map((v, i) => v - dot(rows[1], first) * first[i]);
  const second = mixed.map((v) => v / length(mixed));
  const third = [first[1] * second[2] - first[2] * second[1], first[2] * second[0] - first[0] * second[2], first[0] * second[1] - first[1] * second[0]];
  return [first, second, third];
}

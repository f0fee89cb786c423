// Compares two texts line by line.

const MOST = 2000; // lines of each text; longer texts are paired line by line, without a search

/**
 * The left line, the right line, and whether they are equal.
 * @typedef {[string | null, string | null, boolean]} Row
 */

/**
 * @param {string} left
 * @param {string} right
 * @returns {Row[]}
 */
export function linesSideBySide(left, right) {
  const a = left.split("\n");
  const b = right.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  /**
   * @param {number} from
   * @param {number} to
   * @returns {Row[]}
   */
  const same = (from, to) => a.slice(from, to).map((line) => [line, line, true]);
  const middle = between(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  return [...same(0, head), ...middle, ...same(a.length - tail, a.length)];
}

/**
 * @param {string[]} a
 * @param {string[]} b
 * @returns {Row[]}
 */
function between(a, b) {
  if (a.length * b.length > MOST * MOST) return paired(a, b);
  // The length of the longest common subsequence of each pair of ends.
  const wide = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      longest[i * wide + j] = a[i] === b[j] ? longest[(i + 1) * wide + j + 1] + 1 : Math.max(longest[(i + 1) * wide + j], longest[i * wide + j + 1]);
  /** @type {Row[]} */
  const rows = [];
  let [i, j] = [0, 0];
  /** @type {[string[], string[]]} */
  let [lost, won] = [[], []];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      rows.push(...paired(lost, won), [a[i], b[j], true]);
      [lost, won] = [[], []];
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && longest[(i + 1) * wide + j] >= longest[i * wide + j + 1])) lost.push(a[i++]);
    else won.push(b[j++]);
  }
  return [...rows, ...paired(lost, won)];
}

/**
 * @param {string[]} a
 * @param {string[]} b
 * @returns {Row[]}
 */
function paired(a, b) {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, at) => [a[at] ?? null, b[at] ?? null, a[at] === b[at]]);
}

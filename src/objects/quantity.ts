/**
 * Quantities of Kubernetes: `500m`, `1.5Gi`, `1e3`
 * (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).
 */

const binary: Readonly<Record<string, bigint>> = {
  Ki: 2n ** 10n,
  Mi: 2n ** 20n,
  Gi: 2n ** 30n,
  Ti: 2n ** 40n,
  Pi: 2n ** 50n,
  Ei: 2n ** 60n,
};

/** Powers of ten. */
const decimal: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };

/** A quantity has a unit or an exponent, never both. */
const form = /^([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,3}))?$/;

/** Beyond what any API server keeps; bounds the cost of a mistyped exponent. */
const exponentMax = 40;

/**
 * The quantity in billionths, which is as fine as Kubernetes keeps them; what is finer is rounded away from zero, as
 * there. Exact at any size. `undefined` for anything that is no quantity, unknown units included.
 */
export function nanosOf(text: string): bigint | undefined {
  const [, sign, number = "", unit = "", exponent = "0"] = form.exec(text) ?? [];
  if (sign === undefined) return undefined;
  const [whole = "", fraction = ""] = number.split(".");
  const power = 9 + Number(exponent) + (decimal[unit] ?? 0) - fraction.length;
  if (Math.abs(power) > exponentMax) return undefined;
  const amount = BigInt(whole + fraction) * (binary[unit] ?? 1n);
  const nanos = power >= 0 ? amount * 10n ** BigInt(power) : divideUp(amount, 10n ** BigInt(-power));
  return sign === "-" ? -nanos : nanos;
}

function divideUp(amount: bigint, by: bigint): bigint {
  return (amount + by - 1n) / by;
}

import { inject } from "vitest";

/** Paths of the administrators' kubeconfigs. */
export interface Kubeconfigs {
  readonly east: string;
  readonly west: string;
}

declare module "vitest" {
  interface ProvidedContext {
    kubeconfigs: Kubeconfigs;
  }
}

/** Kubeconfigs of the two sites that all tests of the `clusters` project share. */
export function kubeconfigs(): Kubeconfigs {
  return inject("kubeconfigs");
}

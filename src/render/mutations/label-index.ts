import type { ObjectKey } from "../../objects/key.ts";

/** Pod labels and selectors over pods, per namespace at the source. Built by `indexLabels`. */
export interface LabelIndex {
  readonly namespaces: ReadonlyMap<string, NamespaceLabels>;
}

export interface NamespaceLabels {
  /** Objects that make pods (or are one), with the pods' labels. */
  readonly pods: readonly { readonly key: ObjectKey; readonly labels: Readonly<Record<string, string>> }[];
  /** Objects that select pods by label. */
  readonly selectors: readonly { readonly key: ObjectKey; readonly selector: unknown }[];
}

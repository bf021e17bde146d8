import { stringify } from "yaml";
import { configurationReference, groupReference } from "./reference.ts";
import { protectionGroupCrd } from "./crd.ts";

/** Every file that is generated from the schemas, by path from the root of the repository. */
export function generatedFiles(): ReadonlyMap<string, string> {
  const header = "# Generated from src/config/group.ts by `node src/config/write-crd.ts`. Do not edit.\n";
  const crd = stringify(protectionGroupCrd(), { lineWidth: 0, aliasDuplicateObjects: false });
  return new Map([
    ["charts/lifeboat/crds/protectiongroups.lifeboat.dev.yaml", header + crd],
    ["docs/crd.md", groupReference()],
    ["docs/configuration.md", configurationReference()],
  ]);
}

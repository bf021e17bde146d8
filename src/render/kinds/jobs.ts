import type { KubeObject } from "../../objects/object.ts";
import { dropAnnotations, filterMap, specOf, type KindRule } from "./rule.ts";
import { jsonAt } from "../pointer.ts";

/** Jobs and CronJobs. Finished Jobs never reach render: capture leaves them out, since they run nowhere again. */

/** Labels by which a Job's controller finds its pods; made from the Job's UID, so each site has its own. */
const generatedLabels = new Set([
  "controller-uid",
  "job-name",
  "batch.kubernetes.io/controller-uid",
  "batch.kubernetes.io/job-name",
]);

export const job: KindRule = {
  prepare(object) {
    dropGenerated(object);
    dropAnnotations(object, ["batch.kubernetes.io/job-tracking"]);
    return undefined;
  },
  hold(object) {
    specOf(object)["suspend"] = true;
    return undefined;
  },
};

function dropGenerated(object: KubeObject): void {
  const spec = specOf(object);
  if (spec["manualSelector"] === true) return;
  const keep = (name: string) => !generatedLabels.has(name);
  const selector = jsonAt(spec, "selector");
  if (selector !== undefined) {
    filterMap(selector, "matchLabels", keep);
    if (Object.keys(selector).length === 0) delete spec["selector"];
  }
  const templateMeta = jsonAt(spec, "template", "metadata");
  if (templateMeta !== undefined) filterMap(templateMeta, "labels", keep);
  const { labels } = object.metadata;
  if (labels === undefined) return;
  for (const name of generatedLabels) delete labels[name];
}

export const cronJob: KindRule = {
  hold(object) {
    specOf(object)["suspend"] = true;
    return undefined;
  },
};
